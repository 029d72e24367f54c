import type { Generation } from './generation';
import type { Chunk, GenerateResult } from './result';

/**
 * A generation to be read while it runs: an async iterable of chunks for one reader, with the whole result beside it.
 *
 * Reading sets the pace: a slow reader slows this generation and no other. Leaving the loop early cancels it. Whoever
 * awaits `result` without reading gets it at full speed.
 *
 * @example
 * const stream = engine.stream('Once upon a time');
 * for await (const chunk of stream) process.stdout.write(chunk.text);
 * const { usage } = await stream.result;
 */
export class GenerateStream implements AsyncIterableIterator<Chunk, undefined> {
  readonly #generation: Generation;
  #reading = false;

  /** Made by `engine.stream` and its relatives. */
  constructor(generation: Generation) {
    this.#generation = generation;
  }

  /** The whole result, once the generation has ended; rejects where reading would throw. */
  get result(): Promise<GenerateResult> {
    if (!this.#reading) this.#generation.drain();
    return this.#generation.result;
  }

  /** The next chunk: everything that arrived since the last one. */
  async next(): Promise<IteratorResult<Chunk, undefined>> {
    this.#reading = true;
    const chunk = await this.#generation.next();
    return chunk ? { done: false, value: chunk } : { done: true, value: undefined };
  }

  /** Cancels what is left; `result` then has what came so far, with finish reason 'cancelled'. */
  return(): Promise<IteratorResult<Chunk, undefined>> {
    this.#generation.cancel();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
