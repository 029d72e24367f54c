import type { RowOwner } from '../controller/controller';
import { readStep } from '../controller/steps';
import { ForetokenError, abortedError, callNative, throwIfAborted } from '../error';
import { FinishReason as NativeFinish, roundFields, stepFields } from '../native';
import type { NativeEngine, NativeOutcomes, NativeRecorded, NativeRequest } from '../native';
import type { CallSite } from './call-site';
import { Generation } from './generation';
import type { GenerationControl, GenerationRequest, TextSource } from './generation';
import type { FinishReason } from './result';

/** The part of the native engine that the loop drives. */
export type SequenceEngine = Pick<NativeEngine, 'submit' | 'consumed' | 'unread' | 'finish'>;

/** Most steps have none: a view of nothing is not made again for each. */
const noNumbers = new Float32Array(0);
const noNodes = new Int32Array(0);

/** From telling the engine in vain to telling it again. */
const retryMs = 50;

const finishReasons: Record<number, FinishReason> = {
  [NativeFinish.stop]: 'stop',
  [NativeFinish.length]: 'length',
  [NativeFinish.cancelled]: 'cancelled',
};

/**
 * Splits what comes back from the engine thread over the requests that run.
 *
 * One crossing may hold several rounds of several sequences; each request is woken at most once for it.
 */
export class DecodeLoop {
  readonly #engine: () => SequenceEngine;
  readonly #running = new Map<number, Generation>();
  readonly #watched = new Map<AbortSignal, { generations: Set<Generation>; forget: () => void }>();
  #idle: (() => void)[] = [];

  /** @param engine The native engine; a function, because outcomes can be routed before loading has returned it. */
  constructor(engine: () => SequenceEngine) {
    this.#engine = engine;
  }

  /** Whose a running sequence is; undefined for one that the controller must not learn from. */
  ownerOf(sequence: number): RowOwner | undefined {
    return this.#running.get(sequence)?.owner;
  }

  /** Nothing is learned any more from the requests of a tenant that run now; undefined = of all. */
  disown(tenant: string | undefined): void {
    for (const generation of this.#running.values())
      if (tenant === undefined || generation.owner?.tenant === tenant) generation.disown();
  }

  /**
   * Queues a request.
   *
   * @param signal Aborts it: its consumer then sees an error with code ABORTED.
   * @param site Holds the stack of the user's call.
   * @throws ForetokenError INVALID_REQUEST, CONTEXT_EXCEEDED, ENGINE_CLOSED, ABORTED
   */
  start(
    native: NativeRequest,
    request: GenerationRequest,
    text: TextSource,
    site: CallSite,
    signal?: AbortSignal,
  ): Generation {
    throwIfAborted(signal);
    const engine = this.#engine();
    const sequence = callNative(() => engine.submit(native));
    const generation = new Generation(request, text, this.#control(engine, sequence), site);
    this.#running.set(sequence, generation);
    if (signal) this.#watch(generation, signal);
    return generation;
  }

  /** Takes one crossing. */
  onOutcomes(outcomes: NativeOutcomes): void {
    this.#addPrefill(outcomes.rounds);
    const woken = this.#acceptSteps(outcomes);
    for (const generation of woken) generation.wake();
    this.#addRecorded(outcomes.recorded);
    for (const { sequence, code, message } of outcomes.errors) {
      this.#running.get(sequence)?.fail(new ForetokenError(code, message));
      this.#remove(sequence);
    }
    for (let i = 0; i < outcomes.finished.length; i += 3) {
      const [sequence, reason, cached] = outcomes.finished.subarray(i, i + 3);
      this.#running.get(sequence)?.end(finishReasons[reason] ?? 'cancelled', cached);
      this.#remove(sequence);
    }
  }

  /** Lets every running request go on to its end, read or not; resolves when none is left. */
  async drain(): Promise<void> {
    for (const generation of this.#running.values()) generation.drain();
    if (this.#running.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /**
   * What a generation tells the engine: where that has no memory to hear it, this generation fails, and no other one. The engine holds the
   * sequence until it has heard of its end, which is told until then.
   */
  #control(engine: SequenceEngine, sequence: number): GenerationControl {
    const isTold = (tell: () => void): boolean => {
      try {
        tell();
        return true;
      } catch (error) {
        this.#running.get(sequence)?.abort(ForetokenError.from(error) as Error);
        return false;
      }
    };
    const finish = (keep: number): void => {
      if (isTold(() => engine.finish(sequence, keep))) return;
      setTimeout(() => {
        if (this.#running.has(sequence)) finish(keep);
      }, retryMs);
    };
    return {
      consumed: (count) => void isTold(() => engine.consumed(sequence, count)),
      unread: () => void isTold(() => engine.unread(sequence)),
      finish,
    };
  }

  #acceptSteps(outcomes: NativeOutcomes): Set<Generation> {
    const woken = new Set<Generation>();
    const { steps, tokens, draftConfidence, draftOutcome, logprobs } = outcomes;
    for (let i = 0; i < steps.length; i += stepFields) {
      const step = readStep(steps, i);
      const { round, tokenOffset, tokenCount, draftOffset, draftCount, drafter, expected, weights } = step;
      const generation = this.#running.get(step.sequence);
      if (!generation) continue;
      generation.accept({
        tokens: tokens.subarray(tokenOffset, tokenOffset + tokenCount),
        ...{ drafter, expected, weights },
        draftConfidence: draftCount > 0 ? draftConfidence.subarray(draftOffset, draftOffset + draftCount) : noNumbers,
        draftOutcome: draftCount > 0 ? draftOutcome.subarray(draftOffset, draftOffset + draftCount) : noNodes,
        logprobs: logprobs.length > 0 ? logprobs.subarray(step.logprobOffset) : noNumbers,
        seconds: roundSeconds(outcomes.rounds, round * roundFields),
      });
      woken.add(generation);
    }
    return woken;
  }

  #addRecorded(recorded: NativeRecorded | undefined): void {
    if (recorded === undefined) return;
    const { drafts, nodes, confidence } = recorded;
    for (let i = 0, from = 0; i < drafts.length; i += 4) {
      const [sequence, start, drafter, count] = drafts.subarray(i, i + 4);
      const to = from + count;
      const parts = { nodes: nodes.subarray(from, to), confidence: confidence.subarray(from, to) };
      this.#running.get(sequence)?.record({ start, drafter, ...parts });
      from = to;
    }
  }

  #addPrefill(rounds: Float64Array): void {
    let seconds = 0;
    for (let i = 0; i < rounds.length; i += roundFields) {
      if (rounds[i + 3] === 0) continue;
      seconds += roundSeconds(rounds, i);
    }
    if (seconds > 0) for (const generation of this.#running.values()) generation.addPrefill(seconds);
  }

  /** One listener per signal, however many requests share it. */
  #watch(generation: Generation, signal: AbortSignal): void {
    let watched = this.#watched.get(signal);
    if (!watched) {
      const all = new Set<Generation>();
      const abort = (): void => all.forEach((each) => each.abort(abortedError(signal)));
      signal.addEventListener('abort', abort, { once: true });
      watched = { generations: all, forget: () => signal.removeEventListener('abort', abort) };
      this.#watched.set(signal, watched);
    }
    const { generations, forget } = watched;
    generations.add(generation);
    const done = (): void => {
      generations.delete(generation);
      if (generations.size > 0 || this.#watched.get(signal)?.generations !== generations) return;
      forget();
      this.#watched.delete(signal);
    };
    generation.result.then(done, done);
  }

  #remove(sequence: number): void {
    this.#running.delete(sequence);
    if (this.#running.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** Seconds of draft, pass, sampling and the rest of the round whose figures begin at `from`. */
function roundSeconds(rounds: Float64Array, from: number): number {
  return rounds[from + 4] + rounds[from + 5] + rounds[from + 6] + rounds[from + 7];
}
