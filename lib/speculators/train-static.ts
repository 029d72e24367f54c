import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadBinding } from '../binding';
import { Engine } from '../engine/engine';
import { checkLoadOptions } from '../engine/load-options';
import { openModel } from '../engine/model-source';
import { ForetokenError, callNative, writing } from '../error';
import { contextUpTo, tokenizerHash } from '../models/metadata';
import type { ModelMetadata } from '../models/metadata';
import { replaceFile } from '../replace-file';
import { answerPrompts } from './answers';
import type { AnswerOptions, WrittenAnswers } from './answers';
import { readRunFile } from './run-file';
import { trainHead } from './train-head';
import type { HeadReport, HeadText, TrainHeadOptions } from './train-head';

/** How {@link trainStatic} works; see the flags of `foretoken train static`. */
export interface TrainStaticOptions extends TrainHeadOptions, Omit<AnswerOptions, 'onAnswer'> {
  /** Given texts that the head learns from beside the target's own answers. */
  texts?: readonly HeadText[];
  /** Whether a head is trained, too. Defaults to `true`. */
  head?: boolean;
}

/** Tokens of a prompt with its answer, where the model was made for so many. */
const answerContext = 2048;

/** Answers of a run that may be interrupted, and what they depend on, in short. */
interface KeptAnswers {
  run: string;
  answers: WrittenAnswers;
}

/** What became of it. */
export interface StaticReport {
  /** The static memory, of the answers that the target wrote. */
  memory: Omit<WrittenAnswers, 'texts'>;
  head?: HeadReport;
}

/**
 * Makes the static speculators of a model by self-distillation, in two parts. First the model answers the prompts itself, which fills the
 * static memory; then a draft head is trained on those answers and on texts as they are. A run that was interrupted goes on where it was when
 * it is called again with the same arguments: answers that were begun are written anew, training goes on from its checkpoint.
 *
 * @param ref The model, as in `Engine.load`.
 * @param prompts Undefined: those that the model asks itself.
 * @param out The folder for both, named after the model. While a run is under way the answers lie there too.
 * @throws ForetokenError ABORTED, CHECKPOINT_INVALID, CHECKPOINT_MISMATCH, HEAD_LEARNED, NOTHING_LEARNED, NOTHING_TO_LEARN, NO_PROMPTS, WRITE_FAILED, and what loading a model or a head throws
 */
export async function trainStatic(
  ref: string,
  prompts: readonly string[] | undefined,
  out: string,
  options: TrainStaticOptions = {},
): Promise<StaticReport> {
  const {
    texts = [],
    head: wanted = true,
    parallel,
    answerTokens = 144,
    memoryTokens = 200_000,
    ...training
  } = options;
  await writing(out, mkdir(out, { recursive: true }));
  const target = await openTarget(ref, training);
  if (wanted && training.from) await checkHead(training.from, target);
  const kept = join(out, `${target.hash}.answers.json`);
  const run = runOf(prompts, { answerTokens, memoryTokens, weights: training.weights ?? 'auto' });
  if (!existsSync(kept)) {
    const contextLength = contextUpTo(answerContext, target.metadata);
    const answering = { ...training, parallel, answerTokens, memoryTokens, contextLength };
    const answers = await write(ref, prompts, out, answering);
    await writing(kept, replaceFile(kept, [JSON.stringify({ run, answers })]));
  }
  const { texts: own, ...memory } = await readKept(kept, run);
  if (!wanted) {
    await rm(kept);
    return { memory };
  }
  const head = await trainHead(ref, [...own, ...texts], out, training);
  if (head.path !== undefined) await rm(kept);
  return { memory, head };
}

/** What answers depend on, in short. */
function runOf(prompts: readonly string[] | undefined, options: Record<string, string | number>): string {
  return createHash('sha256').update(JSON.stringify({ prompts, options })).digest('hex');
}

/** The model that answers, and the hash that its files are named after. */
interface Target {
  hash: string;
  metadata: ModelMetadata;
}

async function openTarget(ref: string, { cacheFolder, onProgress, signal }: TrainHeadOptions): Promise<Target> {
  const binding = loadBinding();
  const { path, metadata } = await openModel(ref, checkLoadOptions({ cacheFolder, onProgress, signal }), binding);
  return { hash: await callNative(() => binding.hashModel(path)), metadata };
}

/** A head that is missing, another model's, or not to be trained, is refused before minutes of answering. */
async function checkHead(path: string, { hash, metadata }: Target): Promise<void> {
  const { corrected } = await callNative(() => loadBinding().inspectHead(path, hash, tokenizerHash(metadata)));
  if (corrected === 0) return;
  const why = `has learned while serving, and corrects output rows of its target, which training would lose`;
  throw new ForetokenError('HEAD_LEARNED', `${path} ${why}: go on from the head that it began with.`, { file: path });
}

/** The answers of a run that was interrupted. */
async function readKept(path: string, run: string): Promise<WrittenAnswers> {
  const kept = await readRunFile<KeptAnswers>(path, isWhole);
  if (kept.run === run) return kept.answers;
  throw new ForetokenError(
    'CHECKPOINT_MISMATCH',
    `${path} holds answers of a run with other prompts or options. Remove it to begin anew, or choose another folder.`,
    { file: path },
  );
}

function isWhole(kept: KeptAnswers | null): boolean {
  const { path, tokens, loops, texts } = kept?.answers ?? ({} as Partial<WrittenAnswers>);
  return (
    typeof path === 'string' &&
    Number.isInteger(tokens) &&
    Number.isInteger(loops) &&
    Array.isArray(texts) &&
    texts.every((text) => Array.isArray(text?.tokens) && Number.isInteger(text.answer))
  );
}

/** How answers are written. */
interface WriteOptions extends Omit<TrainStaticOptions, 'texts' | 'head'> {
  answerTokens: number;
  memoryTokens: number;
  contextLength: number;
}

async function write(
  ref: string,
  prompts: readonly string[] | undefined,
  out: string,
  options: WriteOptions,
): Promise<WrittenAnswers> {
  const { threads, isa, weights, cacheFolder, onProgress, signal, ...rest } = options;
  const { parallel = 16, answerTokens, memoryTokens, contextLength } = rest;
  const engine = await Engine.load(ref, {
    ...{ threads, isa, weights, cacheFolder, onProgress, signal },
    ...{ maxSequences: parallel, contextLength, indexBytes: 2 ** 30, memory: false },
  });
  const onAnswer = (done: number): void =>
    onProgress?.({ stage: 'tokens remembered', done: Math.min(done, memoryTokens), total: memoryTokens });
  try {
    return await answerPrompts(engine, prompts, out, { parallel, answerTokens, memoryTokens, onAnswer, signal });
  } catch (error) {
    if (signal?.aborted) throw new ForetokenError('ABORTED', 'Training was interrupted; it can be started again.');
    throw error;
  } finally {
    await engine.close();
  }
}
