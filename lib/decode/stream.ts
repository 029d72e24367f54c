import type { Generation } from './generation';
import type { Chunk, GenerateResult } from './result';

/**
 * A generation to be read while it runs: an async iterable of chunks for one reader, with the whole result beside it.
 *
 * Reading sets the pace: a slow reader slows this generation and no other. Leaving the loop early cancels it. Whoever
 * asks for `result` lets it run to its end at full speed, however far it has been read.
 *
 * @example
 * const stream = engine.stream('Once upon a time');
 * for await (const chunk of stream) process.stdout.write(chunk.text);
 * const { usage } = await stream.result;
 */
export class GenerateStream implements AsyncIterableIterator<Chunk, undefined> {
  readonly #generation: Promise<Generation>;
  #left = false;
  /** The latest read: the next one waits for it. */
  #turn: Promise<unknown> = Promise.resolve();

  /** Made by `engine.stream` and its relatives; the generation comes once its prompt has been read. */
  constructor(generation: Promise<Generation>) {
    this.#generation = generation;
    // Reading shows the error; a stream or a result that nobody looks at must not end the process.
    generation.catch(() => undefined);
  }

  /**
   * The whole result, once the generation has ended; rejects where reading would throw. From here on the end is wanted:
   * nobody has to read, and who reads no longer sets the pace.
   */
  get result(): Promise<GenerateResult> {
    const result = this.#whole();
    result.catch(() => undefined);
    return result;
  }

  /** Like `result`, but reading sets the pace: settles whenever the reader has let the generation come to its end. */
  get ended(): Promise<GenerateResult> {
    const ended = this.#generation.then((generation) => generation.result);
    ended.catch(() => undefined);
    return ended;
  }

  /** The next chunk: everything that arrived since the last one. */
  next(): Promise<IteratorResult<Chunk, undefined>> {
    const read = this.#turn.then(() => this.#read());
    this.#turn = read.catch(() => undefined);
    return read;
  }

  /**
   * Cancels what is left and waits for its end: a session is free again, and `result` has what came so far, with finish
   * reason 'cancelled'. Whoever leaves meets no error: where the generation has failed, or has never begun, `result` says so.
   */
  async return(): Promise<IteratorResult<Chunk, undefined>> {
    this.#left = true;
    const ended = this.#generation.then((generation) => {
      generation.cancel();
      return generation.result;
    });
    await ended.catch(() => undefined);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #read(): Promise<IteratorResult<Chunk, undefined>> {
    const generation = await this.#generation;
    const chunk = this.#left ? undefined : await generation.next();
    return chunk ? { done: false, value: chunk } : { done: true, value: undefined };
  }

  async #whole(): Promise<GenerateResult> {
    const generation = await this.#generation;
    generation.drain();
    return generation.result;
  }
}
