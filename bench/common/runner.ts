import { performance } from 'node:perf_hooks';
import { loadBinding } from '../../lib/binding';
import { NodeOutcome, unpackNode } from '../../lib/controller/nodes';
import {
  type Drafter,
  FinishReason,
  Learn,
  stepFields,
  type NativeEngine,
  type NativeLoadOptions,
  type NativeModelInfo,
  type NativeOutcomes,
  type NativeRequest,
} from '../../lib/native';

/** What one request did, seen from JavaScript. */
export interface Run {
  tokens: number[];
  /** Seconds from submit to the first token. */
  ttft: number;
  /** Seconds from the first token to the last, as outcomes arrive in JavaScript. */
  seconds: number;
  /** Tokens that came with the first outcome and so outside `seconds`. */
  firstTokens: number;
  rounds: number;
  drafted: number;
  accepted: number;
  rejected: number;
}

/** A request, and what shall happen in the middle of it. */
export interface RunRequest extends Partial<NativeRequest> {
  prompt: Int32Array;
  /** Called when half of the tokens have come; until it is done nobody's tokens are taken, so that all sequences stop on their way. */
  halfway?: () => Promise<unknown>;
}

interface Running extends Run {
  half: number;
  halfway: RunRequest['halfway'];
  submitted: number;
  first: number;
  last: number;
  resolve(run: Run): void;
  reject(error: Error): void;
}

const defaults: NativeLoadOptions = {
  ...{ head: '', heads: [], tokenizer: '', learn: false },
  weights: 'auto',
  backend: 'cpu',
  threads: 0,
  isa: '',
  contextLength: 2048,
  maxSequences: 1,
  ...{ kvBytes: 0, kvFormat: 'bf16' },
  speculation: false,
  ...{ indexBytes: 256 << 20, keepsDropped: false },
  cacheFolder: '',
  runAhead: 1 << 20,
};

const plainRequest: Omit<NativeRequest, 'prompt'> = {
  tenant: 'bench',
  ...{ session: '', learner: '' },
  maxTokens: 128,
  stopTokens: new Int32Array(0),
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyWindow: 0,
  biasTokens: new Int32Array(0),
  biasValues: new Float32Array(0),
  seed: 0n,
  logprobs: -1,
  prediction: new Int32Array(0),
  learn: Learn.all,
  speculation: { enabled: true, maxLookahead: 16, drafters: -1, learned: true, record: false, force: -1 },
};

/** Drafts of one drafter in every round, whatever they are worth. */
export function forced(force: Drafter): NativeRequest['speculation'] {
  return { ...plainRequest.speculation, maxLookahead: 8, force };
}

/**
 * The engine without the TypeScript above the border: for suites that time single passes or force drafters, which the
 * public API has no business offering.
 */
export class NativeRunner {
  readonly #running = new Map<number, Running>();
  #holding = 0;
  /** The engine itself; set once loading has finished. */
  engine!: NativeEngine;
  info!: NativeModelInfo;

  static async load(path: string, options: Partial<NativeLoadOptions> = {}): Promise<NativeRunner> {
    const runner = new NativeRunner();
    runner.engine = await loadBinding().loadEngine(
      path,
      { ...defaults, ...options },
      (outcomes) => runner.#take(outcomes),
      () => undefined,
    );
    runner.info = runner.engine.info();
    return runner;
  }

  run({ halfway, ...request }: RunRequest): Promise<Run> {
    return new Promise((resolve, reject) => {
      const submitted = performance.now();
      const whole = { ...plainRequest, ...request };
      const sequence = this.engine.submit(whole);
      this.#running.set(sequence, {
        ...{ tokens: [], ttft: 0, seconds: 0, firstTokens: 0, rounds: 0, drafted: 0, accepted: 0, rejected: 0 },
        ...{ submitted, first: 0, last: 0, resolve, reject, halfway, half: whole.maxTokens / 2 },
      });
    });
  }

  async close(): Promise<void> {
    await this.engine.close();
  }

  #take(outcomes: NativeOutcomes): void {
    const now = performance.now();
    for (let at = 0; at < outcomes.steps.length; at += stepFields) this.#step(outcomes, at, now);
    for (const error of outcomes.errors) {
      const run = this.#running.get(error.sequence);
      this.#running.delete(error.sequence);
      run?.reject(new Error(`${error.code}: ${error.message}`));
    }
    for (let at = 0; at < outcomes.finished.length; at += 3) this.#finish(outcomes.finished, at);
  }

  #step(outcomes: NativeOutcomes, at: number, now: number): void {
    const [, sequence, tokenOffset, tokenCount, draftOffset, draftCount] = outcomes.steps.subarray(at, at + stepFields);
    const run = this.#running.get(sequence);
    if (run === undefined || tokenCount === 0) return;
    if (run.tokens.length === 0) {
      run.first = now;
      run.firstTokens = tokenCount!;
    } else {
      run.rounds += 1;
    }
    run.last = now;
    run.tokens.push(...outcomes.tokens.subarray(tokenOffset, tokenOffset + tokenCount));
    for (const packed of outcomes.draftOutcome.subarray(draftOffset, draftOffset + draftCount)) {
      const { outcome, shadow } = unpackNode(packed);
      if (shadow) continue;
      run.drafted += 1;
      if (outcome === NodeOutcome.accepted) run.accepted += 1;
      if (outcome === NodeOutcome.rejected) run.rejected += 1;
    }
    if (run.halfway && run.tokens.length >= run.half) this.#hold(run);
    if (this.#holding === 0) this.engine.consumed(sequence, run.tokens.length);
  }

  #hold(run: Running): void {
    const work = run.halfway!();
    run.halfway = undefined;
    this.#holding += 1;
    const release = (): void => {
      this.#holding -= 1;
      if (this.#holding > 0) return;
      for (const [sequence, { tokens }] of this.#running) this.engine.consumed(sequence, tokens.length);
    };
    work.then(release, (error: Error) => {
      release();
      run.reject(error);
    });
  }

  #finish(finished: Int32Array, at: number): void {
    const sequence = finished[at];
    const run = this.#running.get(sequence);
    if (run === undefined) return;
    this.#running.delete(sequence);
    this.engine.finish(sequence, run.tokens.length);
    run.ttft = (run.first - run.submitted) / 1000;
    run.seconds = (run.last - run.first) / 1000;
    if ((finished[at + 1] as FinishReason) === FinishReason.error) run.reject(new Error('the sequence failed'));
    else run.resolve(run);
  }
}
