import { createInterface } from 'node:readline';
import type { Interface } from 'node:readline';
import type { Command } from 'commander';
import type { GenerateStream } from '../decode/stream';
import type { Engine } from '../engine/engine';
import type { Session } from '../engine/session';
import { addKeepFlag, addLoadFlags, addSamplingFlags, samplingOptions, withEngine } from './flags';
import type { LoadFlags, SamplingFlags } from './flags';
import { describeError, runCommand } from './run';
import { Style } from './terminal';
import type { Warnings } from './warnings';

interface ChatFlags extends LoadFlags, SamplingFlags {
  system?: string;
}

const help = `/reset    forget the conversation
/explain  what the controller believes and chose
/stats    what the engine has done and holds
/exit     leave (Ctrl-D too); Ctrl-C stops an answer`;

export function addChatCommand(program: Command): void {
  const command = program.command('chat').description('talk to a model; every answer ends with how fast it came');
  addSamplingFlags(addKeepFlag(addLoadFlags(command)))
    .option('--system <text>', 'a system message to begin with')
    .addHelpText(
      'after',
      `
While chatting:
${help.replaceAll(/^/gm, '  ')}

Examples:
  foretoken chat
  foretoken chat --system "You are a patient teacher." --temperature 0.7
  foretoken chat --model ./model.gguf --weights fp8
  foretoken chat --keep-learned`,
    )
    .action((flags: ChatFlags) => runCommand((signal) => chat(flags, signal)));
}

function chat(flags: ChatFlags, signal: AbortSignal): Promise<void> {
  return withEngine(flags, signal, (engine, warnings) => new ChatLoop(engine, flags, warnings).run());
}

class ChatLoop {
  readonly #engine: Engine;
  readonly #flags: ChatFlags;
  readonly #warnings: Warnings;
  readonly #style = new Style(process.stdout);
  #session: Session;
  /** The answer that is being written. */
  #answering: GenerateStream | undefined;
  /** Whether no more lines come: Ctrl-D ends them also while an answer is written. */
  #closed = false;

  constructor(engine: Engine, flags: ChatFlags, warnings: Warnings) {
    this.#engine = engine;
    this.#flags = flags;
    this.#warnings = warnings;
    this.#session = this.#newSession();
  }

  async run(): Promise<void> {
    const terminal = process.stdin.isTTY && process.stdout.isTTY;
    const lines = createInterface({
      input: process.stdin,
      output: terminal ? process.stdout : undefined,
      prompt: '> ',
    });
    lines.once('close', () => (this.#closed = true));
    lines.on('SIGINT', () => {
      if (this.#answering) void this.#answering.return();
      else lines.close();
    });
    try {
      await this.#converse(lines, terminal);
    } finally {
      lines.close(); // while it reads standard input, the process stays
    }
  }

  async #converse(lines: Interface, terminal: boolean): Promise<void> {
    if (terminal) {
      const { name, path, weightsDescription } = this.#engine.model;
      process.stdout.write(this.#style.dim(`${name ?? path} (${weightsDescription}); /help says what else there is\n`));
      lines.prompt();
    }
    for await (const line of lines) {
      if (line.trim() === '/exit') break;
      try {
        await this.#take(line);
      } catch (error) {
        if (!terminal) throw error;
        process.stderr.write(describeError(error)); // a turn that fails leaves no trace: the next one may be another
      }
      this.#warnings.show();
      if (terminal && !this.#closed) lines.prompt(); // which would read on after a Ctrl-D
    }
  }

  async #take(line: string): Promise<void> {
    switch (line.trim()) {
      case '':
        return;
      case '/help':
        process.stdout.write(`${help}\n`);
        return;
      case '/reset':
        this.#session.close();
        this.#session = this.#newSession();
        return;
      case '/explain':
        process.stdout.write(`${this.#engine.explain()}\n`);
        return;
      case '/stats':
        process.stdout.write(`${JSON.stringify(this.#engine.stats(), undefined, 2)}\n`);
        return;
      default:
        if (/^\/[a-z]+$/.test(line.trim())) process.stdout.write(`there is no ${line.trim()}:\n${help}\n`);
        else await this.#answer(line);
    }
  }

  async #answer(line: string): Promise<void> {
    const before = this.#engine.stats();
    const stream = this.#session.stream(line);
    this.#answering = stream;
    const stop = (): void => void stream.return();
    process.on('SIGINT', stop);
    try {
      for await (const chunk of stream) process.stdout.write(chunk.text);
      const { timings, speculation } = await stream.result;
      const after = this.#engine.stats();
      const speedup = (after.plainSeconds - before.plainSeconds) / (after.roundSeconds - before.roundSeconds);
      process.stdout.write(
        `\n${this.#style.dim(report(timings.tokensPerSecond, speculation.acceptanceLength, speedup))}\n`,
      );
    } finally {
      process.off('SIGINT', stop);
      this.#answering = undefined;
    }
  }

  #newSession(): Session {
    return this.#engine.session({ system: this.#flags.system, ...samplingOptions(this.#flags) });
  }
}

/** The line under an answer. Plain decoding is not run beside it: its speed is the measured price of one-row passes. */
function report(tokensPerSecond: number, acceptanceLength: number, speedup: number): string {
  const gain = Number.isFinite(speedup)
    ? `, ${speedup.toFixed(2)}x plain decoding (by the measured price of a plain pass)`
    : '';
  return `${tokensPerSecond.toFixed(1)} tokens/s, ${acceptanceLength.toFixed(2)} tokens per pass${gain}`;
}
