import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { packageRoot } from '../../lib/binding';
import { Child } from './child';
import type { Peer, PeerPrompt, PeerRun } from './peer';

const loadSeconds = 60;
const answerSeconds = 60;

/** A Node binding that answers through one of the scripts beside this file: a line of JSON in, a line of JSON out. */
export class Worker implements Peer {
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;

  private constructor(script: string) {
    this.#child = new Child(script, process.execPath, [join(packageRoot(), 'bench', 'peers', script)]);
    this.#lines = createInterface({ input: this.#child.output })[Symbol.asyncIterator]();
  }

  /** Starts a script and has it load what `job` says. */
  static async start(script: string, job: object): Promise<Worker> {
    const worker = new Worker(script);
    try {
      await worker.#ask(job, loadSeconds);
    } catch (error) {
      await worker.close();
      throw error;
    }
    return worker;
  }

  answer(prompt: PeerPrompt): Promise<PeerRun> {
    return this.#ask<PeerRun>(prompt, answerSeconds);
  }

  close(): Promise<void> {
    return this.#child.end();
  }

  async #ask<T>(question: object, seconds: number): Promise<T> {
    this.#child.input.write(JSON.stringify(question) + '\n');
    return this.#child.within(seconds, this.#nextAnswer<T>());
  }

  /** Libraries may print lines of their own. */
  async #nextAnswer<T>(): Promise<T> {
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true) return new Promise(() => undefined);
      if (line.value.startsWith('{')) return JSON.parse(line.value) as T;
    }
  }
}
