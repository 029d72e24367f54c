import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { loadBinding } from '../binding';
import type { GenerateResult } from '../decode/result';
import { Engine } from '../engine/engine';
import type { LoadOptions } from '../engine/load-options';
import { readMetadata } from '../engine/model-source';
import { contextUpTo } from '../models/metadata';
import { ForetokenError } from '../error';
import { cacheFolder } from '../models/cache';
import { defaultModel } from '../models/default-model';
import { resolveModel } from '../models/resolve';
import { writeTinyModel } from '../models/tiny-model';
import { ask, isSameAnswer, rateOf, secondsOf, tokensPerPass } from './demo-answer';
import { LearningDemo } from './demo-learning';
import { addModelFlags } from './flags';
import type { ModelFlags } from './flags';
import { demoPrompts } from './demo-prompts';
import type { DemoPrompt } from './demo-prompts';
import { runCommand } from './run';
import { ProgressDisplay, Style, WrappedText, formatBytes } from './terminal';

interface DemoFlags extends ModelFlags {
  json?: boolean;
}

/** Both answers to one prompt. */
interface Pair {
  prompt: DemoPrompt;
  plain: GenerateResult;
  fast: GenerateResult;
}

/** Errors after which the demo goes on with a model that it makes itself. */
const noModel = new Set(['PIP_NOT_FOUND', 'MODEL_UNAVAILABLE', 'MODEL_HASH_MISMATCH']);

export function addDemoCommand(program: Command): void {
  addModelFlags(
    program.command('demo').description('answer prompts plain and with speculation, and show what it learns'),
  )
    .option('--json', 'print one line of JSON at the end; everything else goes to standard error')
    .addHelpText(
      'after',
      `
Examples:
  foretoken demo
  foretoken demo --weights nvfp4 --threads 2
  foretoken demo --model ./model.gguf --json`,
    )
    .action((flags: DemoFlags) => runCommand((signal) => new Demo(flags, signal).run()));
}

class Demo {
  readonly #flags: DemoFlags;
  readonly #signal: AbortSignal;
  readonly #out: NodeJS.WriteStream;
  readonly #style: Style;

  constructor(flags: DemoFlags, signal: AbortSignal) {
    this.#flags = flags;
    this.#signal = signal;
    this.#out = flags.json ? process.stderr : process.stdout;
    this.#style = new Style(this.#out);
  }

  async run(): Promise<void> {
    const path = await this.#loadable();
    const context = this.#flags.context ?? (await contextOf(path));
    const plain = await this.#load(path, context, false);
    try {
      const fast = await this.#load(path, context, true);
      try {
        await this.#compare(plain, fast);
      } finally {
        await fast.close();
      }
    } finally {
      await plain.close();
    }
  }

  async #compare(plain: Engine, fast: Engine): Promise<void> {
    this.#introduce(fast);
    const pairs: Pair[] = [];
    for (const [index, prompt] of demoPrompts.entries()) {
      this.#signal.throwIfAborted();
      this.#say(`\n${this.#style.bold(`${index + 1}/${demoPrompts.length} ${prompt.domain}`)} · ${prompt.title}`);
      const pair = await this.#answerTwice(prompt, plain, fast);
      pairs.push(pair);
    }
    this.#tabulate(pairs);
    const different = await new LearningDemo(this.#out, this.#signal).run(plain, fast);
    this.#conclude(fast);
    if (this.#flags.json) process.stdout.write(`${JSON.stringify(await summarize(pairs, different, fast))}\n`);
  }

  /** The model that was asked for, or one made here if the default can't be had. */
  async #loadable(): Promise<string> {
    const { model } = this.#flags;
    const progress = new ProgressDisplay();
    try {
      return (await resolveModel(model, { onProgress: progress.update, signal: this.#signal })).path;
    } catch (error) {
      if (model !== 'default' || !(error instanceof ForetokenError) || !noModel.has(error.code)) throw error;
      progress.stop();
      this.#say(this.#style.red(`The default model can't be had: ${error.message} (${error.code})`));
      return this.#tinyModel();
    } finally {
      progress.stop();
    }
  }

  #tinyModel(): string {
    const path = join(cacheFolder(), 'models', 'tiny-random.gguf');
    if (!existsSync(path)) writeTinyModel(path);
    this.#say(
      'Running on a tiny model with random weights instead. Everything works as with a real one, but what it says',
    );
    this.#say('is noise, and its speeds mean nothing.');
    return path;
  }

  async #load(path: string, contextLength: number, speculation: boolean): Promise<Engine> {
    const progress = new ProgressDisplay();
    const { weights, threads } = this.#flags;
    const options: LoadOptions = { weights, threads, contextLength, maxSequences: 1 };
    try {
      return await Engine.load(path, { ...options, speculation, onProgress: progress.update, signal: this.#signal });
    } finally {
      progress.stop();
    }
  }

  #introduce(engine: Engine): void {
    const { name, path, weightsDescription, weightBytes, threads, isa } = engine.model;
    this.#say(
      `\n${this.#style.bold(name ?? path)} · ${weightsDescription} · ${formatBytes(weightBytes)} · ${threads} threads · ${isa}`,
    );
    this.#say(
      'Each prompt is answered twice: plain, one token per pass of the model, and with foretoken drafting ahead.',
    );
  }

  async #answerTwice(prompt: DemoPrompt, plain: Engine, fast: Engine): Promise<Pair> {
    const first = await this.#answer(plain, prompt, false);
    const second = await this.#answer(fast, prompt, true);
    const pair = { prompt, plain: first, fast: second };
    const same = isSame(pair) ? this.#style.green('same text') : this.#style.red('DIFFERENT TEXT');
    const speedup = this.#style.bold(`${speedupOf([pair]).toFixed(2)}x`);
    this.#say(
      `  plain ${rate(first)} · foretoken ${rate(second)} tokens/s · ${speedup} · ` +
        `${second.speculation.acceptanceLength.toFixed(2)} tokens per pass · ${second.tokens.length} tokens · ${same}`,
    );
    return pair;
  }

  /** One answer; the second time its text is shown as it comes. */
  async #answer(engine: Engine, prompt: DemoPrompt, show: boolean): Promise<GenerateResult> {
    const stream = ask(engine, prompt.prompt, { maxTokens: prompt.maxTokens, signal: this.#signal });
    const width = Math.min(this.#out.columns ?? 100, 110);
    const text = new WrappedText((piece) => this.#out.write(this.#style.dim(piece)), '  │ ', width);
    let tokens = 0;
    for await (const chunk of stream) {
      tokens += chunk.tokens.length;
      if (show) text.push(chunk.text);
      else if (this.#out.isTTY) this.#out.write(`\r  plain: ${tokens} tokens`);
    }
    if (show) text.end();
    else if (this.#out.isTTY) this.#out.write('\r\x1b[K');
    return stream.result;
  }

  #tabulate(pairs: Pair[]): void {
    const mismatches = pairs.filter((pair) => !isSame(pair)).length;
    this.#say(
      `\n${this.#style.bold('prompt       tokens  plain tokens/s  foretoken tokens/s  speed-up  tokens per pass')}`,
    );
    for (const pair of pairs) this.#say(tableRow(pair.prompt.domain, [pair]));
    this.#say(this.#style.bold(tableRow('all', pairs)));
    this.#say(
      mismatches === 0
        ? this.#style.green(`All ${pairs.length} answers are the same with and without speculation, token for token.`)
        : this.#style.red(`${mismatches} of ${pairs.length} answers differ. That is a bug: please report it.`),
    );
  }

  #conclude(engine: Engine): void {
    this.#say(`\n${this.#style.bold('What the controller chose and why')}\n${engine.explain()}`);
    this.#say(`\n${this.#style.bold('Where to go next')}`);
    this.#say('  npx foretoken chat                           talk to the model; each answer ends with its speed');
    this.#say("  const { Engine } = require('foretoken')      the library; README.md has an example");
    this.#say('  npm run bench -- spec                        the measurements (in a clone of the repository)');
  }

  #say(line: string): void {
    this.#out.write(`${line}\n`);
  }
}

/** Tokens that prompts and answers have room in, where the model was made for so many. */
async function contextOf(path: string): Promise<number> {
  return contextUpTo(2048, await readMetadata(path, loadBinding()));
}

function tableRow(title: string, pairs: Pair[]): string {
  const tokens = pairs.reduce((sum, { fast }) => sum + fast.tokens.length, 0);
  const fast = pairs.map((pair) => pair.fast);
  const columns = [
    title.padEnd(12),
    String(tokens).padStart(6),
    rateOf(pairs.map(({ plain }) => plain))
      .toFixed(1)
      .padStart(15),
    rateOf(fast).toFixed(1).padStart(19),
    `${speedupOf(pairs).toFixed(2)}x`.padStart(9),
    tokensPerPass(fast).toFixed(2).padStart(16),
  ];
  return columns.join(' ');
}

function rate(result: GenerateResult): string {
  return result.timings.tokensPerSecond.toFixed(1);
}

/** Seconds of plain decoding, first token to last, by those with speculation. */
function speedupOf(pairs: Pair[]): number {
  const seconds = secondsOf(pairs.map(({ fast }) => fast));
  return seconds > 0 ? secondsOf(pairs.map(({ plain }) => plain)) / seconds : 1;
}

function isSame({ plain, fast }: Pair): boolean {
  return isSameAnswer(plain, fast);
}

/** `different`: answers of the part about learning that differ from plain decoding. */
async function summarize(pairs: Pair[], different: number, engine: Engine): Promise<Record<string, unknown>> {
  return {
    model: await hashOf(engine.model.path),
    mismatches: different + pairs.filter((pair) => !isSame(pair)).length,
    speedup: Number(speedupOf(pairs).toFixed(4)),
    tokens: pairs.reduce((sum, { fast }) => sum + fast.tokens.length, 0),
  };
}

/** The sha256 of a model's file; of a folder there is none. */
async function hashOf(path: string): Promise<string | null> {
  if (path.endsWith(defaultModel.file)) return defaultModel.sha256;
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash);
  } catch {
    return null;
  }
  return hash.digest('hex');
}
