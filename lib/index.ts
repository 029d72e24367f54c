export { Engine } from './engine/engine';
export type { ModelInfo } from './engine/engine';
export type { LoadOptions, LoadProgress, WeightFormat } from './engine/load-options';
export type { ChatOptions, Speculator, Prompt, RequestOptions, TemplateOptions } from './engine/request-options';
export { Session } from './engine/session';
export type { SessionOptions, TurnOptions } from './engine/session';
export type { Learned } from './engine/names';
export type { EngineStats, TenantStats } from './engine/stats';
export type { NativeModelInfo, NativeStats } from './native';
export type { UpdateWeightsOptions, WeightSource, WeightTensor, WeightUpdate } from './engine/update-weights';
export type {
  Chunk,
  FinishReason,
  GenerateResult,
  Recording,
  RoundTrace,
  SpeculationReport,
  Timings,
  TokenLogprob,
  WeightsUsed,
  Usage,
} from './decode/result';
export { GenerateStream } from './decode/stream';
export { ForetokenError } from './error';
export type { DriftEvent, LearningEvent } from './speculators/events';
export type { Evidence } from './speculators/manifest';
export type { ChatMessage, MessageLike, TextPart } from './models/messages';
