import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadBinding } from '../binding';
import { checkLoadOptions } from '../engine/load-options';
import type { LoadOptions } from '../engine/load-options';
import { openModel } from '../engine/model-source';
import { ForetokenError, callNative, writing } from '../error';
import { contextUpTo, tokenizerHash } from '../models/metadata';
import type { Tokenizer } from '../models/tokenizer';
import type { NativeHeadRun } from '../native';
import { lines } from '../plot';
import { replaceFile } from '../replace-file';
import { readRunFile } from './run-file';

/** A text to learn from: words, or tokens of which those from `answer` on are what the head shall draft. */
export type HeadText = string | { tokens: readonly number[]; answer: number };

/** How {@link trainHead} works; see the flags of `foretoken train static`. */
export interface TrainHeadOptions extends Pick<
  LoadOptions,
  'threads' | 'isa' | 'weights' | 'cacheFolder' | 'onProgress' | 'signal'
> {
  /** Tokens that the head can draft: the most frequent ones. Defaults to `8192`, at most the model's own. */
  draftTokens?: number;
  /** Tokens of a block. Defaults to `4`. */
  slots?: number;
  /** Rank of the term that looks at the token before. Defaults to `32`. */
  rank?: number;
  /** A head to go on from, whose draft tokens, slots and rank count then; none that learned while serving. Defaults to a new one. */
  from?: string;
  /** Passes over the texts. Defaults to `1`. */
  epochs?: number;
  /** Positions of a step. Defaults to `2048`. */
  rowsPerStep?: number;
  /** Share of the positions that blocks are drafted at; a step costs about as much as it has of them. Defaults to `0.3`. */
  anchorShare?: number;
  /** Peak learning rate. Defaults to `0.001`. */
  rate?: number;
  /** Weight of the probability of being rejected beside the divergence. Defaults to `0`. */
  rejectionWeight?: number;
  /** Steps between two looks at the held-back texts. Defaults to a tenth of the run. */
  evaluateEvery?: number;
  /** Steps between two checkpoints. Defaults to `50`. */
  checkpointEvery?: number;
  /** Ends early after so many seconds, with a checkpoint from which the same call goes on. */
  maxSeconds?: number;
  /** Called after each step, with the last look at the held-back texts. */
  onStep?: (state: HeadStep & { steps: number; heldBack?: HeadEvaluation }) => void;
}

/** What a step did. */
export interface HeadStep {
  step: number;
  /** Divergence from the target over the step's slots, in nats, and how likely a drafted token is accepted. */
  kl: number;
  acceptance: number;
  /** Tensor whose gradient was not finite, so that the step moved nothing; empty = none. */
  notFinite: string;
}

/** How the head did on held-back texts after a step. */
export interface HeadEvaluation {
  step: number;
  /** Tokens a pass when every round drafts a block. */
  acceptanceLength: number;
  /** Of each slot, where all before it were right. */
  hits: number[];
}

/** What became of a run. */
export interface HeadReport {
  /** The head's file; undefined where the run ended before its last step. */
  path: string | undefined;
  model: string;
  parameters: number;
  texts: number;
  tokens: number;
  heldBack: number;
  step: number;
  steps: number;
  /** Seconds of training in all calls. */
  seconds: number;
  loss: HeadStep[];
  evaluations: HeadEvaluation[];
}

const pieceTokens = 512;
const mostTokens = 4096; // of a text that is tokens already
const heldBackShare = 20; // one text of so many, and
const mostHeldBack = 64; // texts at most: looking at them costs as much as training on four times as many
const shortest = 4; // tokens; anything shorter has no room for a block

/**
 * Trains a draft head for a model: the model reads the texts, and the head learns to say what it would say, some tokens ahead. A run
 * that was interrupted, by a signal or a kill, goes on from its checkpoint in `out` when it is called again with the same arguments,
 * and ends with the same head.
 *
 * @param ref The model, as in `Engine.load`.
 * @param out The folder for the head, its report and its checkpoint, all named after the model.
 * @throws ForetokenError ABORTED, CHECKPOINT_INVALID, CHECKPOINT_MISMATCH, HEAD_LEARNED, NOTHING_TO_LEARN, WRITE_FAILED, and what loading
 *   a model or a head throws
 */
export async function trainHead(
  ref: string,
  texts: readonly HeadText[],
  out: string,
  options: TrainHeadOptions = {},
): Promise<HeadReport> {
  const { threads, isa, weights, cacheFolder, onProgress, signal } = options;
  const checked = checkLoadOptions({ threads, isa, weights, cacheFolder, onProgress, signal });
  const binding = loadBinding();
  const source = await openModel(ref, checked, binding);
  const pieces = await cut(texts, source.tokenizer, contextUpTo(mostTokens, source.metadata));
  const one = Math.max(heldBackShare, Math.ceil(pieces.length / mostHeldBack));
  const training = pieces.filter((_, i) => i % one !== one - 1);
  const heldBack = pieces.filter((_, i) => i % one === one - 1);
  if (training.length === 0) throw new ForetokenError('NOTHING_TO_LEARN', 'No text is long enough to learn from.');
  const all = [...training, ...heldBack];
  const run = await callNative(() =>
    binding.openHeadRun({
      ...{ model: source.path, weights: checked.native.weights, cacheFolder: source.cacheFolder },
      ...{ threads: checked.native.threads, isa: checked.native.isa, tokenizer: tokenizerHash(source.metadata) },
      tokens: Int32Array.from(all.flatMap(({ tokens }) => tokens)),
      lengths: Int32Array.from(all, ({ tokens }) => tokens.length),
      answers: Int32Array.from(all, ({ answer }) => answer),
      heldBack: heldBack.length,
      draft: draftVocabulary(training, source.tokenizer.size, options.draftTokens ?? 8192),
      ...{ rank: options.rank ?? 32, slots: options.slots ?? 4, from: options.from ?? '' },
      ...{ seed: 1, epochs: options.epochs ?? 1 },
      ...{ rowsPerStep: options.rowsPerStep ?? 2048, anchorShare: options.anchorShare ?? 0.3 },
      ...{ rate: options.rate ?? 1e-3, rejectionWeight: options.rejectionWeight ?? 0 },
    }),
  );
  const report: HeadReport = {
    ...{ path: undefined, model: run.sourceHash, parameters: run.parameters },
    ...{ texts: training.length, tokens: training.reduce((sum, { tokens }) => sum + tokens.length, 0) },
    ...{ heldBack: heldBack.length, step: 0, steps: run.steps, seconds: 0, loss: [], evaluations: [] },
  };
  return new HeadTraining(run, report, out, options).finish();
}

/** The loop of a run, and its files. */
class HeadTraining {
  readonly #name: string;
  #saved = -1;

  constructor(
    private readonly run: NativeHeadRun,
    private readonly report: HeadReport,
    private readonly out: string,
    private readonly options: TrainHeadOptions,
  ) {
    this.#name = join(out, `${report.model}.head`);
  }

  async finish(): Promise<HeadReport> {
    const { report, run, options } = this;
    const { evaluateEvery = Math.max(1, Math.ceil(run.steps / 10)), checkpointEvery = 50, maxSeconds } = options;
    await writing(this.out, mkdir(this.out, { recursive: true }));
    await this.#resume();
    const before = report.seconds;
    const began = performance.now();
    while (report.step < run.steps) {
      if (options.signal?.aborted || report.seconds - before >= (maxSeconds ?? Infinity)) break;
      const { step, kl, acceptance, notFinite } = await callNative(() => run.train());
      report.step = step;
      report.loss.push({ step, kl, acceptance, notFinite });
      if (report.heldBack > 0 && (step % evaluateEvery === 0 || step === run.steps)) await this.#evaluate();
      const heldBack = report.evaluations.at(-1);
      options.onStep?.({ step, steps: run.steps, kl, acceptance, notFinite, heldBack });
      report.seconds = before + (performance.now() - began) / 1000;
      if (step % checkpointEvery === 0) await this.#checkpoint();
    }
    if (report.step < run.steps) {
      await this.#checkpoint();
      if (options.signal?.aborted) throw new ForetokenError('ABORTED', 'Training was interrupted; it can go on later.');
      return report;
    }
    const path = `${this.#name}.safetensors`;
    report.path = path;
    await callNative(() => run.saveHead(path));
    await this.#writeReport();
    await this.#write('svg', curvesOf(report));
    await rm(this.#checkpointPath, { force: true });
    return report;
  }

  get #checkpointPath(): string {
    return `${this.#name}.checkpoint.safetensors`;
  }

  async #evaluate(): Promise<void> {
    const { acceptanceLength, hits } = await callNative(() => this.run.evaluate());
    this.report.evaluations.push({ step: this.report.step, acceptanceLength, hits: [...hits] });
  }

  /** The report first: what it has beyond the checkpoint is dropped when the run goes on. */
  async #checkpoint(): Promise<void> {
    if (this.#saved === this.report.step) return;
    await this.#writeReport();
    await callNative(() => this.run.saveCheckpoint(this.#checkpointPath));
    this.#saved = this.report.step;
  }

  async #writeReport(): Promise<void> {
    await this.#write('json', `${JSON.stringify(this.report)}\n`);
  }

  async #write(ending: string, text: string): Promise<void> {
    const path = `${this.#name}.${ending}`;
    await writing(path, replaceFile(path, [text]));
  }

  async #resume(): Promise<void> {
    if (!existsSync(this.#checkpointPath)) return;
    const step = await callNative(() => this.run.loadCheckpoint(this.#checkpointPath));
    const earlier = await readRunFile(`${this.#name}.json`, isReport, this.#checkpointPath);
    const { report } = this;
    report.step = step;
    report.seconds = earlier.seconds;
    report.loss = earlier.loss.filter((entry) => entry.step <= step);
    report.evaluations = earlier.evaluations.filter((entry) => entry.step <= step);
    this.#saved = step;
  }
}

function isReport(report: HeadReport | null): boolean {
  const { seconds, loss, evaluations } = report ?? ({} as Partial<HeadReport>);
  const isList = (list: readonly ({ step: number } | null)[] | undefined): boolean =>
    Array.isArray(list) && list.every((each: { step: number } | null) => Number.isInteger(each?.step));
  return typeof seconds === 'number' && isList(loss) && isList(evaluations);
}

/** A plot of the run: loss of every step, acceptance length on held-back texts where it was looked at. */
function curvesOf({ loss, evaluations }: HeadReport): string {
  const lengthAt = (step: number): number =>
    (evaluations.find((look) => look.step >= step) ?? evaluations.at(-1))?.acceptanceLength ?? 1;
  return lines('training of a draft head', 'steps', [
    { name: 'divergence (nats)', values: loss.map(({ kl }) => kl) },
    { name: 'acceptance length', values: loss.map(({ step }) => lengthAt(step)) },
  ]);
}

interface Piece {
  tokens: readonly number[];
  answer: number;
}

/** Words become tokens, and those pieces that fit a step and the model's context. Of tokens the beginning is taken. */
async function cut(texts: readonly HeadText[], tokenizer: Tokenizer, context: number): Promise<Piece[]> {
  const most = Math.max(shortest, context);
  const length = Math.min(pieceTokens, most);
  const pieces: Piece[] = [];
  for (const text of texts) {
    if (typeof text !== 'string') {
      pieces.push({ tokens: text.tokens.slice(0, most), answer: text.answer });
      continue;
    }
    const tokens = [...(await tokenizer.encodeAsync(text))];
    for (let at = 0; at < tokens.length; at += length)
      pieces.push({ tokens: tokens.slice(at, at + length), answer: 0 });
  }
  return pieces.filter(({ tokens, answer }) => tokens.length - Math.max(answer - 1, 0) >= shortest);
}

/** The most frequent tokens, ascending; a multiple of 16 of them. Where too few were seen, the lowest others fill up. */
function draftVocabulary(pieces: readonly Piece[], size: number, wanted: number): Int32Array {
  const counts = new Uint32Array(size);
  for (const { tokens, answer } of pieces) for (const token of tokens.slice(answer)) counts[token] += 1;
  const order = Array.from(counts.keys()).sort((a, b) => counts[b] - counts[a] || a - b);
  return Int32Array.from(order.slice(0, Math.floor(Math.min(wanted, size) / 16) * 16)).sort();
}
