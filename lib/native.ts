/**
 * The native border, 1:1. Nothing outside `lib/engine`, `lib/decode`, `lib/models` and `bench` touches it; users never see it.
 *
 * One native thread per engine runs round after round with the policy table it has and never waits for JavaScript.
 * What happened comes back through one callback as typed arrays, one or more rounds per crossing.
 */

/** A plain GGUF metadata value. 64-bit integers beyond 2^53 come as bigint. */
export type GgufValue =
  | number
  | bigint
  | string
  | boolean
  | string[]
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | Uint8Array
  | GgufValue[];

export interface NativeLoadOptions {
  /** Weight format: 'auto' or a format name. */
  weights: string;
  /** 'cpu' or 'cuda'. */
  backend: string;
  /** 0 = physical cores. */
  threads: number;
  /** '' = best available path. */
  isa: string;
  /** Tokens a sequence may hold; 0 = the model's own context, at most 8192. */
  contextLength: number;
  /** Sequences decoded together. */
  maxSequences: number;
  /** Bytes for KV pages; 0 = enough for maxSequences full contexts, capped by what memory allows. */
  kvBytes: number;
  /** 'bf16' or 'fp8'. */
  kvFormat: string;
  /** false: the engine never drafts, keeps no text and computes no keys (the plain reference). */
  speculation: boolean;
  /** Bytes that remembered text, its indexes and keys may take together; a tenant may take a quarter of them. */
  indexBytes: number;
  /** What a tenant's text loses to others' because they all take too much together waits until {@link NativeEngine.memoryOf} takes it. */
  keepsDropped: boolean;
  /** Folder of packed weights, '' = no cache. */
  cacheFolder: string;
  /** Tokens a sequence may run ahead of what JavaScript has consumed before it is paused (back-pressure). */
  runAhead: number;
  /** Path of a draft head; '' = the one named after the model in the first of the folders `heads` that has one, if any has. */
  head: string;
  heads: string[];
  /** Hash of the tokenizer, which heads are bound to. */
  tokenizer: string;
  /** Whether the head learns, for each tenant a head of its own; see {@link NativeEngine.watchLearning}. */
  learn: boolean;
}

/** Drafter ids as they appear in outcomes. `adversarial` exists for the lossless bench and tests only. */
export enum Drafter {
  none = 0,
  suffix = 1,
  prediction = 2,
  adversarial = 3,
  recall = 4,
  head = 5,
  /** Of the drafts of recall and suffix. */
  blend = 6,
}

export interface NativeRequest {
  /** KV prefixes are shared within a tenant only. */
  tenant: string;
  /** Who learns from it, and from whose learned state it is drafted for: '' = the tenant; wherever else a tenant is named it may be one. */
  learner: string;
  /** Requests of one session share a memory of their own; '' = only this request. */
  session: string;
  prompt: Int32Array;
  maxTokens: number;
  /** Generation ends when one of these is drawn; the token itself is reported with finish reason 'stop'. */
  stopTokens: Int32Array;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** Tokens that penalties look back on; 0 = all. */
  penaltyWindow: number;
  biasTokens: Int32Array;
  biasValues: Float32Array;
  /** Noise is addressed by (seed, position): the same seed gives the same tokens whatever is drafted. */
  seed: bigint;
  /** -1 = none. */
  logprobs: number;
  /** Text the caller expects, as tokens: used as a draft. Empty = none. */
  prediction: Int32Array;
  learn: Learn;
  speculation: {
    enabled: boolean;
    /** Longest draft of this request. */
    maxLookahead: number;
    /** Drafters that the policy may choose for this request, as bits: 1 << id. */
    drafters: number;
    /** Whether they look at what earlier requests have taught: text of session and tenant, the tenant's own head. */
    learned: boolean;
    /** Nothing is verified, and all that is drafted at every position comes back in {@link NativeOutcomes.recorded}. */
    record: boolean;
    /** Tests and `bench lossless`: draft in every round from this drafter, ignoring the policy. -1 = let the policy choose. */
    force: number;
  };
}

/** What of a sequence may be remembered as text to draft from. */
export enum Learn {
  nothing = 0,
  answer = 1,
  all = 2,
}

/** What rounds cost. */
export interface NativePrices {
  /** Rows (all sequences together) a pass may hold. */
  rowBudget: number;
  /** Seconds of a pass by number of rows: index = rows - 1, at `contextTokens` of context. */
  passSeconds: Float32Array;
  /** Seconds added per token of context attended to, per row. */
  secondsPerContextToken: number;
  /** Seconds of a round outside draft and pass. */
  overheadSeconds: number;
  /** Seconds of a round of plain decoding, which {@link NativeOutcomes.asks} are told in. */
  plainSeconds: number;
  /** Seconds of one draft call, by drafter id. */
  draftSeconds: Float32Array;
}

/** What drafts are worth where one tenant's text is decoded, and who may make them. */
export interface NativeBeliefs {
  /**
   * Probability that a drafted token is accepted given that its prefix was: [drafter][depth][confidence],
   * `policyDepths` depths (the last one stands for all deeper) and `policyKnots` confidences, evenly spaced in log odds; on straight lines
   * between those.
   */
  acceptance: Float32Array;
  /**
   * A text may be easier or harder to draft than those that `acceptance` is made of: drafter by drafter, chances are multiplied by
   * (kept + tableWeight) / (promised + tableWeight), where `promised` is what `acceptance` said of the sequence's drafted tokens that its text
   * has decided by now, `kept` how many of them came, both fading round by round. 0 = the table's word is final.
   */
  tableWeight: number;
  /** [drafter] 1 = may draft. */
  allowed: Uint8Array;
  /**
   * The head takes a noticeable time: it is asked at every so many drafts of the other drafters that promise so many accepted tokens,
   * a quarter of a token an index, all beyond in the last of {@link promiseBuckets}. 0 = never.
   */
  askEvery: Int32Array;
}

/**
 * What the engine thread needs to choose a draft. Made by `lib/controller`; the engine applies it and nothing else.
 * Of all plans it takes the one with the fewest expected seconds until the text leaves the draft; see native/speculate/plan.h.
 */
export interface NativePolicy extends NativePrices, NativeBeliefs {}
/** Bytes of the packed key of a position, native/speculate/packed_key.h kPackedKeyBytes. */
export const packedKeyBytes = 16;
export const policyDepths = 8;
export const policyKnots = 16;
/** Log odds of confidence from one knot of the acceptance table to the next, native/speculate/plan.cc kKnotStep; the middle of all is at 0. */
export const knotStep = 0.75;
export const drafterCount = 7;
export const promiseBuckets = 16;

/** One crossing: `rounds`, `steps` and `drafts` are tables with the row layouts below, in the order things happened. */
export interface NativeOutcomes {
  /** roundFields numbers per round. */
  rounds: Float64Array;
  /** stepFields integers per sequence and round. */
  steps: Int32Array;
  /** All emitted tokens; a step names its part. `draftOffset` and `draftCount` of a step cover its shadow nodes too. */
  tokens: Int32Array;
  /** Per drafted node: confidence; its part is named by a step. */
  draftConfidence: Float32Array;
  /** Per drafted node: the chance that the plan gave it, its prefix accepted; of shadow nodes 0. */
  draftChance: Float32Array;
  /**
   * Per drafted node, packed: depth (1 = first) in bits 0..7, outcome in bits 8..15 (0 rejected, 1 accepted, 2 never reached), shadow
   * in bit 16, age in bits 17..23, drafter in bits 24..31. A shadow node was drafted but not verified, because the policy left it out or
   * preferred another drafter: it is listed in the step whose tokens decide what would have become of it (outcome 0 or 1), which may be
   * a later one: age is how many tokens the sequence had emitted since it was drafted, before that step. So every drafter stays
   * calibrated without being tried at the user's expense, whatever was verified. Shadow nodes are no part of `drafted`, `accepted`,
   * `rejected` in the stats.
   */
  draftOutcome: Int32Array;
  /** Per emitted token when the request asked for logprobs: logprob, then n × (token, logprob); where they begin, a step says. */
  logprobs: Float32Array;
  /**
   * Sequences that ended: [id, reason, cachedPromptTokens] triples. Every submitted sequence gets exactly one triple here or one
   * entry in `errors`, also one that was ended by `finish` (reason cancelled), even if nobody waits for it any more.
   */
  finished: Int32Array;
  /** askFields integers per draft of the head of which the text by now says what asking for it brought. */
  asks: Int32Array;
  /** Drafts of sequences that record, as soon as the text decides them; there where there are any. */
  recorded?: NativeRecorded;
  /** Errors of single sequences. */
  errors: { sequence: number; code: string; message: string }[];
}
/** Whole drafts, as `drafts` lists them one after the other. */
export interface NativeRecorded {
  /** sequence, length of its text (prompt included) when it was drafted, drafter, number of nodes. */
  drafts: Int32Array;
  /** Per node: 1 + its parent's place in the draft in bits 0..6 (0 = none), bit 7: it and all above it are what the target said. */
  nodes: Uint8Array;
  /** Per node. */
  confidence: Float32Array;
}
/**
 * rows, sequences, contextTokens, prefillRows, draftSeconds, passSeconds, sampleSeconds, otherSeconds; then headSeconds, a part of
 * draftSeconds, and positions whose keys and values the head made in them. draftSeconds is 0 where nobody was asked.
 */
export const roundFields = 10;
/**
 * round, sequence, tokenOffset, tokenCount, draftOffset, draftCount, accepted, drafter; then 1 + the index of the others' promise where
 * the head was asked (0 = it was not); then how many of the verified nodes the plan expected to be accepted, in millionths; then the
 * version of the weights that drew the tokens; then logprobOffset.
 */
export const stepFields = 12;
/**
 * The step whose tokens decide it, of the same sequence; the index of the others' promise when the head was asked; and the plan with its
 * draft less the plan without it: millionths of a token promised, tokens that the text says, millionths of a plain round that the pass
 * costs at the prices it was planned with (but for the head's own).
 */
export const askFields = 5;

export enum FinishReason {
  stop = 0,
  length = 1,
  cancelled = 2,
  error = 3,
}

/** See {@link NativeEngine.memoryOf}. */
export interface NativeMemory {
  tokens: Int32Array;
  keys: Uint8Array;
  model: string;
  dropped: boolean;
  cut: boolean;
}

/** What the native engine counts: since it was loaded where nothing else is said, in all requests together. */
export interface NativeStats {
  /** Tokens generated. */
  tokens: number;
  /** Tokens of prompts. */
  promptTokens: number;
  /** Of those, the ones whose keys and values were still in the cache. */
  cachedPromptTokens: number;
  /** Passes of decoding, each for all sequences that decode. */
  rounds: number;
  /** Tokens that were drafted and checked. */
  drafted: number;
  /** Of those, the ones that the model said too. */
  accepted: number;
  /** Of those, the ones that it did not say. */
  rejected: number;
  /** Requests that hold one of `maxSequences` places now. */
  active: number;
  /** Requests that wait for one. */
  waiting: number;
  /** Pages of keys and values. */
  kvPagesTotal: number;
  /** Those that requests hold now; one that has ended, until the engine has taken note of its result. */
  kvPagesUsed: number;
  /** Those that only keep prefixes for later requests. */
  kvPagesCached: number;
  /** Updates of the weights so far: 0 = as they were loaded. */
  weightsVersion: number;
  /** Versions of the weights in memory; older ones stay until the last request that began with them has ended. */
  weightsHeld: number;
  /** Bytes that remembered text with its indexes and keys takes now; the option of this name is its limit. */
  indexBytes: number;
  /**
   * How often a tenant's text had to make room for others', because all of it together took more than `indexBytes` of the options: with
   * `keepLearned` it is written down first and its next request finds it again, without it is forgotten.
   */
  droppedTexts: number;
  /** Bytes of the text that every request may draft from. */
  staticMemoryBytes: number;
  /** Bytes of the draft head in memory; 0 = there is none. */
  headBytes: number;
  /** Bytes of heads that draft for one tenant each, but for what they share with that one. */
  tenantHeadBytes: number;
  /** Drafts that the head was asked for, each counted for one sequence. */
  headDrafts: number;
  /** Seconds that they took together. */
  headSeconds: number;
  /** Texts that heads were judged on and learn from. */
  learnedTexts: number;
  /** Texts that were left out because more pressing work was there. */
  learningDropped: number;
  /** Steps of training of rows, at any time. */
  learningSteps: number;
  /** Steps of training of layers, while nothing was decoded. */
  learningLayerSteps: number;
  /** Steps and texts that were skipped because a number was not finite. */
  learningSkipped: number;
  /** Texts and steps of training that heads have still to learn from; 0: they have learned what there was. */
  learningBacklog: number;
  /** Tenants with heads that learn. */
  learningTenants: number;
  /** Bytes of text with features that they learn from. */
  learningBytes: number;
  /**
   * Bytes of the device's memory that learning holds: weights, gradients and moments of layers, and what steps of layers and rows take;
   * 0 where the CPU learns.
   */
  learningDeviceBytes: number;
  /** Seconds of one core that learning has taken. */
  learningSeconds: number;
  /** Whether learning waits now because of load. */
  learningPaused: boolean;
  /** Bytes of the model's weights in memory. */
  weightBytes: number;
  /** Bytes of memory that the whole process has, Node included; 0 where the system does not say. */
  residentBytes: number;
  /** Seconds of passes that read prompts. */
  prefillSeconds: number;
  /** Seconds of passes that decode. */
  decodeSeconds: number;
}

/** What a model is, and what computes it. */
export interface NativeModelInfo {
  /** As the model's file names it: 'llama', 'qwen2', ... */
  architecture: string;
  /** Layers of attention and feed-forward part. */
  layers: number;
  /** Numbers of a token's hidden state. */
  width: number;
  /** Heads of attention. */
  heads: number;
  /** Heads of keys and values; several heads of attention share one. */
  kvHeads: number;
  /** Numbers of each head. */
  headDim: number;
  /** Inner width of a layer's feed-forward part. */
  ffn: number;
  /** Tokens that the model tells apart: ids run from 0 to below this. */
  vocabulary: number;
  /** Tokens that a sequence may hold, prompt and answer together. */
  contextLength: number;
  /** Formats of the weights, for people. */
  weightsDescription: string;
  /** Bytes of the weights in memory. */
  weightBytes: number;
  /** Names the weights: made of all bytes of the source, and of those of every update since. */
  sourceHash: string;
  /** 'cpu' or 'cuda'. */
  backend: string;
  /** Instruction set, or name of the CUDA device. */
  isa: string;
  /** What keys and values are kept in: 'bf16' or 'fp8'. */
  kvFormat: string;
  /** Threads that compute. */
  threads: number;
}

export interface NativeEngine {
  info(): NativeModelInfo;
  /** Queues a request; its sequence id. Throws INVALID_REQUEST, CONTEXT_EXCEEDED, ENGINE_CLOSED. */
  submit(request: NativeRequest): number;
  /** Tells the engine that `count` tokens of the sequence in all were consumed (back-pressure). Never blocks. */
  consumed(sequence: number, count: number): void;
  /**
   * Nobody waits for the tokens of the sequence one by one: while that is true of all that run, rounds of eleven milliseconds come in one
   * crossing, but for first tokens and ends.
   */
  unread(sequence: number): void;
  /**
   * Ends a sequence: JavaScript keeps its first `keep` tokens. What was decoded beyond is cut: never counted, never in an index,
   * its KV never reused. Also the acknowledgement after `finished` (with keep = all tokens it kept): until then the sequence's
   * pages are held. A second call, or an unknown sequence, is ignored.
   */
  finish(sequence: number, keep: number): void;
  /** What rounds cost; and beliefs for a tenant, or (none named) for all who have none of their own. */
  setPolicy(policy: NativePolicy, tenant?: string): void;
  /** A tenant has no beliefs of its own any more. */
  dropPolicy(tenant: string): void;
  stats(): NativeStats;
  /** Forgets what was learned: a session's index, a tenant's index and KV prefixes, or with neither everything. */
  forget(what: { tenant?: string; session?: string }): void;
  /** Resolves behind all that was asked before, here and of the heads that learn, with {@link stats} that know of it. */
  settled(): Promise<unknown>;
  /**
   * Seconds of passes of 1..rows rows at a context, of a draft call, and of each position that the head catches up on: for the
   * controller's first prices. Runs on the engine thread between rounds.
   */
  profile(
    rows: number,
    context: number,
    repeats: number,
  ): Promise<{ passSeconds: Float32Array; draftSeconds: Float32Array; headPositionSeconds: number }>;
  /**
   * Where the seconds of passes go: `repeats` passes of `rows` rows at a context, all calls of an operation together, in order of
   * first use. For `bench decode --profile`.
   */
  profileOperations(rows: number, context: number, repeats: number): Promise<NativeOperation[]>;
  /**
   * Teacher-forced logits for tests and `bench quality`: log-probabilities of tokens[i + 1] after tokens[..i], and the argmax, as where
   * all of it is generated.
   */
  score(tokens: Int32Array): Promise<{ logprob: Float32Array; argmax: Int32Array }>;
  /**
   * What sequences submitted from now on may also draft from, of no tenant: tokens (-1 ends a document) and {@link packedKeyBytes} of
   * key for each. Empty = nothing.
   */
  setStaticMemory(tokens: Int32Array, keys: Uint8Array): Promise<unknown>;
  /** A tenant remembers this too, laid out like that. Throws INVALID_ARGUMENT. */
  restoreMemory(tenant: string, tokens: Int32Array, keys: Uint8Array): Promise<unknown>;
  /**
   * All that a tenant remembers beyond its sessions, laid out like that, what has made room for others' and waits included; `model`:
   * `sourceHash` of the weights that it was decoded with. `take`: what waits has been taken. `dropped`: something
   * did; `cut`: the texts of its own running requests have pushed something out that it would have room for.
   */
  memoryOf(tenant: string, take: boolean): Promise<NativeMemory>;
  /** Tenants and groups of whom text waits to be taken. */
  droppedTenants(): Promise<string[]>;
  /**
   * Swaps weights between two rounds once those of `source` are read, checked and packed; until then nothing changes, and an error
   * leaves everything as it was. `source`: a path, or tensors, whose data is copied before this returns. Sequences that have begun
   * finish on the weights they began with, or are computed again on the new ones ('restart'). One call at a time.
   */
  updateWeights(source: string | NativeTensor[], inFlight: 'finish' | 'restart'): Promise<NativeWeightUpdate>;
  /**
   * Lets heads learn from finished texts, each tenant's from its own, on a thread of the lowest priority; of an engine that was loaded with
   * `learn` and has a head, NO_HEAD otherwise. `onJudged` is called after each text that was looked at,
   * `onStopped` where computing fails while a tenant's head learns (CUDA_ERROR, INTERNAL_ERROR): nobody learns any more then, and drafting
   * goes on with the heads that there are; `onCpu` where the CPU takes the steps of a tenant's layers or rows, because the device has no
   * memory for them (OUT_OF_MEMORY) or its kernels can't (SHAPE_MISMATCH); `onLost` where there is no memory to work for a tenant
   * (OUT_OF_MEMORY): what its head was learning is lost.
   */
  watchLearning(
    onJudged: (judged: NativeJudged) => void,
    onStopped: (tenant: string, why: Error) => void,
    onCpu: (tenant: string, why: Error) => void,
    onLost: (tenant: string, why: Error) => void,
  ): void;
  /**
   * About a tenant's candidate by its number: it drafts from now on, is given up, is given up with all that was learned since; or
   * (`rollback`) the head before the last promotion drafts again. `done`: whether that candidate was still there.
   */
  decide(
    tenant: string,
    decision: 'promote' | 'discard' | 'harmful' | 'rollback',
    candidate: number,
  ): Promise<{ done: boolean }>;
  /** Writes the head that drafts for a tenant; `model`: `sourceHash` of the weights that it is of. Throws HEAD_NOT_FINITE, WRITE_FAILED. */
  saveHead(tenant: string, path: string): Promise<{ model: string }>;
  /** A tenant goes on with a head that was saved; with `again` as a candidate, to be judged. Throws what {@link Binding.inspectHead} does. */
  adoptHead(tenant: string, path: string, again: boolean): Promise<unknown>;
  /** Waits for running work, frees everything. */
  close(): Promise<void>;
}

/** What a learner's heads would have drafted along a part of a verified text: tokens that would have been right, position by position. */
export interface NativeJudged {
  learner: string;
  /** Whose text it is: the learner, or a member where that is a group. */
  tenant: string;
  live: Uint8Array;
  /** Empty where there is none. */
  candidate: Uint8Array;
  previous: Uint8Array;
  /** 0 = there is none. */
  candidateNumber: number;
}

/** A tensor in memory. */
export interface NativeTensor {
  name: string;
  /** 'F32', 'F16' or 'BF16'. */
  dtype: string;
  /** Outermost first. */
  shape: number[];
  data: Uint8Array;
}

/** What an update of weights brought. */
export interface NativeWeightUpdate {
  /** Tensors of the source and their bytes, as they came. */
  tensors: number;
  bytes: number;
  /** Updates so far. */
  version: number;
}

/** One kind of operation of a pass: all calls of it together. */
export interface NativeOperation {
  name: string;
  seconds: number;
  bytes: number;
}

/** What the machine can do at best with `threads` and `isa`, see native/cpu/probe.h. */
export interface NativeProbe {
  readGBs: number;
  int8GMACs: number;
  bf16GMACs: number;
  /** For all threads to meet. */
  meetingNs: number;
  /** Those really used. */
  threads: number;
  isa: string;
}

/** One CUDA device as `cudaInfo` reports it. */
export interface CudaDevice {
  name: string;
  /** Compute capability, such as "9.0". */
  capability: string;
  /** Total memory in bytes. */
  memory: number;
}

/** What `cudaInfo` found out by opening libforetoken_cuda.so; it leaves the devices alone. */
export interface CudaInfo {
  /** Path of the library that was opened. */
  library: string;
  /** CUDA version that the library was built with, such as "13.0". */
  runtime: string;
  /** Newest CUDA version that the driver supports. */
  driver: string;
  devices: CudaDevice[];
}

/** One tensor of a model's file. */
export interface TensorDescription {
  name: string;
  /** Type as the file holds it, such as 'Q4_1'. */
  type: string;
  /** Outermost first: [rows, columns] of a matrix. */
  shape: number[];
  bytes: number;
}

/** What `benchKernel` runs. */
export interface NativeKernel {
  format: string;
  rows: number;
  cols: number;
  count: number;
  repeats: number;
  /** 0 = physical cores. */
  threads: number;
  /** '' = best available path. */
  isa: string;
}

export interface NativeKernelTimes {
  /** One figure per repeat. */
  seconds: Float64Array;
  /** Read bandwidth right before each of them, 10^9 bytes a second. */
  readGBs: Float64Array;
  /** Unpadded bytes of W. */
  bytes: number;
  /** Multiply-adds of one product. */
  macs: number;
}

/** A head to be trained: texts one after the other in `tokens`, and options as in native/train/trainer.h. */
export interface NativeHeadRunOptions {
  /** Path of the target. */
  model: string;
  weights: string;
  cacheFolder: string;
  /** Hash of the tokenizer, which the head is bound to. */
  tokenizer: string;
  threads: number;
  isa: string;
  tokens: Int32Array;
  /** Of each text: its tokens, and where in it the answer begins. */
  lengths: Int32Array;
  answers: Int32Array;
  /** So many of the last texts are for evaluation alone. */
  heldBack: number;
  /** The draft vocabulary, ascending; a multiple of 16. */
  draft: Int32Array;
  rank: number;
  slots: number;
  /** A head to go on from: its vocabulary, rank and slots count then. Empty = a new one. */
  from: string;
  seed: number;
  epochs: number;
  rowsPerStep: number;
  /** Of the positions where a block could start. */
  anchorShare: number;
  rate: number;
  rejectionWeight: number;
}

/** Training of a draft head; calls wait for one another. */
export interface NativeHeadRun {
  /** Of the whole run. */
  steps: number;
  parameters: number;
  sourceHash: string;
  train(): Promise<{
    step: number;
    /** Slots that counted. */
    tokens: number;
    kl: number;
    acceptance: number;
    hits: Float64Array;
    /** Of the gradient, before clipping. */
    norm: number;
    notFinite: string;
  }>;
  evaluate(): Promise<{ acceptanceLength: number; hits: Float64Array }>;
  saveCheckpoint(path: string): Promise<unknown>;
  /** The steps that the checkpoint had taken. */
  loadCheckpoint(path: string): Promise<number>;
  saveHead(path: string): Promise<unknown>;
}

/** Sizes of a draft head, see native/train/block_head.h. */
export interface NativeHeadShape {
  /** Tokens that it can draft. */
  vocabulary: number;
  /** Tokens of a block. */
  slots: number;
  rank: number;
  layers: number;
  /** Output rows of the target that it corrects: more than 0 where it has learned while serving. */
  corrected: number;
}

/** A text of which all drafts are known. */
export interface NativeReplayText {
  promptTokens: number;
  /** By tokens of the answer before it: the first of its drafts; one more entry than there are tokens. */
  firstDraft: Int32Array;
  /** Per draft: drafter, first node; one more row than there are drafts. */
  drafts: Int32Array;
  /** As in {@link NativeRecorded}. */
  nodes: Uint8Array;
  confidence: Float32Array;
}

export interface NativeReplay {
  /** Goes to a text, whose first token came with the prompt's pass. */
  begin(text: NativeReplayText): void;
  /**
   * At most `rounds` rounds more as the engine would run them with this policy: what they would have told, all seconds 0, and how many tokens
   * of the answer there are now.
   */
  run(policy: NativePolicy, rounds: number): NativeOutcomes & { position: number };
}

export interface Binding {
  /** Texts decoded without a model, for simulating policies; the head takes no part. */
  createReplay(): NativeReplay;
  readGgufMetadata(path: string): Record<string, GgufValue>;
  /** The tensors of a GGUF file or a safetensors folder, in the file's order. */
  readTensors(path: string): TensorDescription[];
  /** Hash of all bytes of a model, as in {@link NativeModelInfo.sourceHash}, without loading it. */
  hashModel(path: string): Promise<string>;
  /** The numbers of one tensor, whatever its type. */
  readTensor(path: string, name: string): Float32Array;
  loadEngine(
    path: string,
    options: NativeLoadOptions,
    onOutcomes: (outcomes: NativeOutcomes) => void,
    onProgress: (stage: string, done: number, total: number) => void,
  ): Promise<NativeEngine>;
  availableIsas(): string[];
  /**
   * Opens libforetoken_cuda.so beside the addon (the first call does) and checks every device with a small kernel.
   * Throws CUDA_UNAVAILABLE where there is no library, driver or device, CUDA_ERROR where a device fails.
   */
  cudaInfo(): CudaInfo;
  /** Bench primitives, see native/cpu/probe.h. */
  probe(threads: number, isa: string): Promise<NativeProbe>;
  /**
   * Times one matrix product alone, `repeats` times: W [rows, cols] in `format` times `count` input rows, weights rotated over more
   * than the caches hold.
   */
  benchKernel(kernel: NativeKernel): Promise<NativeKernelTimes>;
  /**
   * What a head's file holds, read to the last number. Throws HEAD_INVALID, HEAD_MISMATCH where it is of another model or tokenizer
   * ('' = any), and what reading files throws.
   */
  inspectHead(path: string, model: string, tokenizer: string): Promise<NativeHeadShape>;
  /** Loads a target to train a draft head for it. Throws what loading does, NOTHING_TO_LEARN, SHAPE_MISMATCH. */
  openHeadRun(options: NativeHeadRunOptions): Promise<NativeHeadRun>;
}
