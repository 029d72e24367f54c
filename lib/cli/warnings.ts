import type { LoadOptions } from '../engine/load-options';
import { Style } from './terminal';

type EngineEvent = Parameters<NonNullable<LoadOptions['onEvent']>>[0];

/** What events that have a reason say. */
const words: Partial<Record<EngineEvent['kind'], string>> = {
  notKept: 'memory and disk differ in what was learned',
  stopped: 'nothing is learned any more',
  onCpu: 'the CPU learns in place of the device',
  lost: 'what was being learned is lost',
};

/** What goes wrong beside an engine's answers, told to people on stderr: each thing once, and where no text is being written. */
export class Warnings {
  readonly #known = new Set<string>();
  #waiting: string[] = [];

  /** To be given as `onEvent`. */
  readonly take = (event: EngineEvent): void => {
    const what = words[event.kind];
    if (what === undefined || !('evidence' in event)) return;
    const line = `${what}: ${String(event.evidence['why'])}`;
    if (this.#known.has(line)) return;
    this.#known.add(line);
    this.#waiting.push(line);
  };

  /** Tells what has come. */
  show(): void {
    const style = new Style(process.stderr);
    for (const line of this.#waiting) process.stderr.write(`${style.red('warning:')} ${line}\n`);
    this.#waiting = [];
  }
}
