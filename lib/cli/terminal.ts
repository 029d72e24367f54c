import { MultiBar, Presets } from 'cli-progress';
import type { SingleBar } from 'cli-progress';
import type { LoadProgress } from '../engine/load-options';

/** Whether text on this stream may carry colours: a terminal, and nobody said NO_COLOR. */
export function hasColors(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

/** Colours for one stream; plain text where it can't show them. */
export class Style {
  readonly #on: boolean;

  constructor(stream: NodeJS.WriteStream) {
    this.#on = hasColors(stream);
  }

  dim(text: string): string {
    return this.#wrap('2', '22', text);
  }

  bold(text: string): string {
    return this.#wrap('1', '22', text);
  }

  green(text: string): string {
    return this.#wrap('32', '39', text);
  }

  red(text: string): string {
    return this.#wrap('31', '39', text);
  }

  #wrap(open: string, close: string, text: string): string {
    return this.#on ? `\x1b[${open}m${text}\x1b[${close}m` : text;
  }
}

/** Shows how loading goes on stderr: bars on a terminal, else one line per stage; what else there is to say comes at the end. */
export class ProgressDisplay {
  #bars: MultiBar | undefined;
  readonly #stages = new Map<string, SingleBar | undefined>();
  readonly #notices = new Set<string>();

  /** To be given as `onProgress`; `note` stands behind the bar. */
  readonly update = (progress: LoadProgress & { note?: string }): void => {
    const { stage, file, done, total, note = '' } = progress;
    const title = file === undefined ? stage : `${stage} ${file}`;
    const amount = stage === 'download' ? `${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB` : note;
    if (total === 0) return void this.#notices.add(title); // nothing that takes time
    if (!this.#stages.has(title)) {
      if (process.stderr.isTTY) this.#bars ??= makeBars();
      else process.stderr.write(`${title}...\n`);
      this.#stages.set(title, this.#bars?.create(total, 0, { stage: title, amount }));
    }
    const bar = this.#stages.get(title);
    if (!bar) return;
    bar.setTotal(total);
    bar.update(done, { stage: title, amount });
  };

  stop(): void {
    this.#bars?.stop();
    for (const notice of this.#notices) process.stderr.write(`${notice}\n`);
    this.#notices.clear();
  }
}

/** Not before there is a bar to show: without one they would leave an empty line. */
function makeBars(): MultiBar {
  const format = '{stage} [{bar}] {percentage}% {amount}';
  const options = { format, stream: process.stderr, hideCursor: true, clearOnComplete: false, barsize: 30 };
  return new MultiBar(options, Presets.legacy);
}

/** A name that others chose, on one line and without power over the terminal: control characters as their codes. */
export function printable(name: string): string {
  const codeOf = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return name.replaceAll(/\p{Cc}/gu, codeOf);
}

/** 12345678 as '12.3 MB'. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 100 ? 1 : 0)} ${units[unit]}`;
}

const bars = '▁▂▃▄▅▆▇█';

/** A curve of bars, one a value: from 0, the lowest bar, to `top`. */
export function sparkline(values: readonly number[], top: number): string {
  return values
    .map((value) => {
      const level = top > 0 ? Math.round((value / top) * (bars.length - 1)) : 0;
      return bars[Math.min(bars.length - 1, Math.max(0, level))];
    })
    .join('');
}

/** Writes lines of text into a column: indented, broken at blanks, as it comes. */
export class WrappedText {
  readonly #write: (text: string) => void;
  readonly #indent: string;
  readonly #width: number;
  #column = 0;
  #word = '';

  constructor(write: (text: string) => void, indent: string, width: number) {
    this.#write = write;
    this.#indent = indent;
    this.#width = Math.max(20, width - indent.length);
  }

  push(text: string): void {
    for (const part of text.split(/(\s)/)) {
      if (part === '\n') this.#break();
      else if (/^\s$/.test(part)) this.#blank(part);
      else this.#word += part;
    }
  }

  end(): void {
    this.#flush();
    if (this.#column > 0) this.#write('\n');
    this.#column = 0;
  }

  #blank(blank: string): void {
    this.#flush();
    if (this.#column < this.#width) this.#put(blank);
  }

  #break(): void {
    this.#flush();
    this.#write(this.#column === 0 ? `${this.#indent.trimEnd()}\n` : '\n');
    this.#column = 0;
  }

  #flush(): void {
    if (this.#word === '') return;
    if (this.#column > 0 && this.#column + this.#word.length > this.#width) {
      this.#write('\n');
      this.#column = 0;
    }
    this.#put(this.#word);
    this.#word = '';
  }

  #put(text: string): void {
    if (this.#column === 0) this.#write(this.#indent);
    this.#write(text);
    this.#column += text.length;
  }
}
