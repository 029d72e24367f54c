import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** What one command may print. */
const outputBytes = 16 << 20;

/** Runs a command to its end and returns its standard output; one that takes more than `seconds` is killed. */
export function runChild(command: string, args: string[], seconds: number, cwd?: string): Promise<string> {
  const options = { cwd, timeout: seconds * 1000, killSignal: 'SIGKILL', maxBuffer: outputBytes } as const;
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const why = error.killed ? `did not end within ${seconds} s` : `failed: ${lastLine(stderr) || error.message}`;
      reject(new Error(`${basename(command)} ${why}`));
    });
    endWithParent(child);
  });
}

/** A process that serves until it is ended; whatever is asked of it has a time-out. */
export class Child {
  readonly #name: string;
  readonly #process: ChildProcess;
  readonly #gone: Promise<never>;
  #errors = '';

  constructor(name: string, command: string, args: string[]) {
    this.#name = name;
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    endWithParent(this.#process);
    this.#process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000);
    });
    // Writing to a process that has ended is reported by `within`.
    this.#process.stdin!.on('error', () => undefined);
    this.#gone = new Promise((_, reject) => {
      this.#process.once('error', reject);
      this.#process.once('close', (code, signal) =>
        reject(new Error(`${name} ended with ${signal ?? code}: ${lastLine(this.#errors)}`)),
      );
    });
    this.#gone.catch(() => undefined);
  }

  get input(): Writable {
    return this.#process.stdin!;
  }

  get output(): Readable {
    return this.#process.stdout!;
  }

  /** The result of `work`, unless the process ends first or `seconds` pass. */
  async within<T>(seconds: number, work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.#name} did not answer within ${seconds} s`)), seconds * 1000);
    });
    try {
      return await Promise.race([work, this.#gone, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async end(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#gone.catch(() => undefined);
  }
}

const alive = new Set<ChildProcess>();

/** Sees to it that a child does not outlive this process, however that ends. */
function endWithParent(child: ChildProcess): void {
  if (alive.size === 0 && process.listenerCount('exit', endAll) === 0) {
    process.on('exit', endAll);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  }
  alive.add(child);
  child.once('close', () => alive.delete(child));
}

function endAll(): void {
  for (const child of alive) child.kill('SIGKILL');
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)!.slice(0, 300);
}
