import { performance } from 'node:perf_hooks';
import { progress, progressDone } from './report';

const width = 24;

/** A progress bar over steps of about equal cost, with an estimate of what is left. */
export class Bar {
  readonly #total: number;
  readonly #started = performance.now();
  #done = 0;

  constructor(total: number) {
    this.#total = total;
  }

  /** Shows what is being done now. */
  show(what: string): void {
    const share = this.#done / this.#total;
    const filled = Math.round(share * width);
    const bar = '#'.repeat(filled) + '-'.repeat(width - filled);
    progress(`[${bar}] ${Math.round(100 * share)} %${this.#left()} ${what}`);
  }

  /** One more step is done. */
  step(): void {
    this.#done += 1;
  }

  /** Takes the bar off the terminal. */
  end(): void {
    progressDone();
  }

  #left(): string {
    if (this.#done === 0) return '';
    const seconds = ((performance.now() - this.#started) / 1000 / this.#done) * (this.#total - this.#done);
    return seconds < 90 ? `, ${Math.ceil(seconds)} s left` : `, ${Math.round(seconds / 60)} min left`;
  }
}
