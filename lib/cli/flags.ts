import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { Engine } from '../engine/engine';
import { weightFormats } from '../engine/load-options';
import type { WeightFormat } from '../engine/load-options';
import type { RequestOptions } from '../engine/request-options';
import { ProgressDisplay } from './terminal';
import { Warnings } from './warnings';

/** Flags of every command that loads a model. */
export interface ModelFlags {
  model: string;
  weights?: WeightFormat;
  threads?: number;
  context?: number;
}

/** Flags of every command that answers with it. */
export interface LoadFlags extends ModelFlags {
  speculation: boolean;
  memory: string | boolean;
  head?: boolean;
  headFile?: string;
  keepLearned?: boolean;
}

/** Flags of every command that samples. */
export interface SamplingFlags {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  seed?: number;
  stop?: string[];
}

/** Adds {@link ModelFlags}. */
export function addModelFlags(command: Command): Command {
  return command
    .option('-m, --model <ref>', "'default', a GGUF file, a safetensors folder or a Hugging Face repository", 'default')
    .addOption(new Option('-w, --weights <format>', 'format of weights in memory').choices(weightFormats))
    .option('-t, --threads <n>', 'threads that compute (default: physical cores)', parseInteger)
    .option(
      '-c, --context <tokens>',
      "tokens of prompt and answer together (default: the model's, at most 8192)",
      parseInteger,
    );
}

/** Adds {@link LoadFlags}. */
export function addLoadFlags(command: Command): Command {
  const plainly = new Option('--no-speculation', 'decode plainly: the same text, one token per pass');
  return addModelFlags(command)
    .option('--memory <file>', "a static memory to draft from (default: the model's own, where one ships)")
    .option('--no-memory', 'draft without a static memory')
    .option('--head', "draft with a head as well: the model's own, where one ships")
    .option('--head-file <file>', 'draft with this head as well')
    .addOption(plainly.conflicts(['head', 'headFile', 'keepLearned']));
}

export function addKeepFlag(command: Command): Command {
  return command.option(
    '--keep-learned',
    'remember answers in the cache folder, for next time: it only makes them faster',
  );
}

export function addSamplingFlags(command: Command): Command {
  return command
    .option('-n, --max-tokens <n>', 'most tokens to generate (default: 1024)', parseInteger)
    .option('--temperature <x>', '0 = always the likeliest token (default: 0)', parseNumber)
    .option('--top-k <k>', 'draw from the k likeliest tokens', parseInteger)
    .option('--top-p <p>', 'draw from the likeliest tokens of this probability together', parseNumber)
    .option('--min-p <p>', 'drop tokens less likely than this share of the likeliest', parseNumber)
    .option('--repetition-penalty <x>', 'make tokens that were there less likely (1 = off)', parseNumber)
    .option('--seed <n>', 'the same seed gives the same text', parseInteger)
    .option('--stop <text>', 'end before this text; may be given several times', addText);
}

/** Loads a model for `use` and closes it afterwards; how loading goes and what goes wrong beside it is told on stderr. */
export async function withEngine(
  flags: LoadFlags,
  signal: AbortSignal,
  use: (engine: Engine, warnings: Warnings) => Promise<void>,
): Promise<void> {
  const warnings = new Warnings();
  const engine = await loadEngine(flags, signal, warnings);
  try {
    warnings.show();
    await use(engine, warnings);
  } finally {
    await engine.close();
    warnings.show();
  }
}

async function loadEngine(flags: LoadFlags, signal: AbortSignal, warnings: Warnings): Promise<Engine> {
  const progress = new ProgressDisplay();
  try {
    return await Engine.load(flags.model, {
      weights: flags.weights,
      threads: flags.threads,
      contextLength: flags.context,
      speculation: flags.speculation,
      memory: flags.memory,
      head: flags.headFile ?? flags.head ?? false,
      keepLearned: flags.keepLearned,
      onProgress: progress.update,
      onEvent: warnings.take,
      signal,
    });
  } finally {
    progress.stop();
  }
}

export function samplingOptions(flags: SamplingFlags): RequestOptions {
  const { maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop } = flags;
  return { maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop };
}

function addText(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

export function parseInteger(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value)) throw new InvalidArgumentError('Expected an integer.');
  return value;
}

export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}
