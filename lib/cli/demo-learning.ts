import type { GenerateResult } from '../decode/result';
import type { Engine } from '../engine/engine';
import { ask, isSameAnswer, rateOf, secondsOf, tokensPerPass } from './demo-answer';
import { streamPrompts, streamTokens } from './demo-prompts';
import { Style, sparkline } from './terminal';

/** One request answered plainly, with what there was before any traffic, and with what the earlier requests taught as well. */
interface Answers {
  plain: GenerateResult;
  static: GenerateResult;
  learned: GenerateResult;
}

/** Rows of the table. */
const parts = 4;

/** The part of the demo that shows learning: requests of one kind, one after the other, each answered three times. */
export class LearningDemo {
  readonly #out: NodeJS.WriteStream;
  readonly #style: Style;
  readonly #signal: AbortSignal;

  constructor(out: NodeJS.WriteStream, signal: AbortSignal) {
    this.#out = out;
    this.#style = new Style(out);
    this.#signal = signal;
  }

  /** @returns How many answers differ from plain decoding. */
  async run(plain: Engine, fast: Engine): Promise<number> {
    this.#say(
      `\n${this.#style.bold('Requests of one kind')} · ${streamPrompts.length} questions to one database, in turn`,
    );
    this.#say('static drafts from the question and the memory that ships; learned also from the questions before.');
    const requests: Answers[] = [];
    for (const [index, prompt] of streamPrompts.entries()) {
      this.#signal.throwIfAborted();
      if (this.#out.isTTY) this.#out.write(`\r  request ${index + 1} of ${streamPrompts.length}`);
      requests.push(await this.#answer(plain, fast, prompt, index));
    }
    if (this.#out.isTTY) this.#out.write('\r\x1b[K');
    this.#tabulate(requests);
    if (this.#out.isTTY) for (const line of curves(requests)) this.#say(line);
    return this.#sum(requests);
  }

  async #answer(plain: Engine, fast: Engine, prompt: string, index: number): Promise<Answers> {
    const common = { maxTokens: streamTokens, signal: this.#signal };
    const still = (): Promise<GenerateResult> =>
      ask(fast, prompt, { ...common, tenant: 'demo static', speculation: { speculator: 'static' } }).result;
    const learning = (): Promise<GenerateResult> => ask(fast, prompt, { ...common, tenant: 'demo learned' }).result;
    const first = await ask(plain, prompt, common).result;
    // In turn, so that a machine that gets slower or faster favours neither.
    if (index % 2 === 0) return { plain: first, static: await still(), learned: await learning() };
    const learned = await learning();
    return { plain: first, static: await still(), learned };
  }

  #tabulate(requests: Answers[]): void {
    this.#say(
      this.#style.bold('requests  plain tokens/s    static   learned  over static  tokens per pass: static   learned'),
    );
    const size = Math.ceil(requests.length / parts);
    for (let from = 0; from < requests.length; from += size) {
      const part = requests.slice(from, from + size);
      this.#say(tableRow(`${from + 1}-${from + part.length}`, part));
    }
    this.#say(this.#style.bold(tableRow('all', requests)));
  }

  #sum(requests: Answers[]): number {
    const different = requests.flatMap(({ plain, ...rest }) =>
      Object.values(rest).filter((answer) => !isSameAnswer(plain, answer)),
    );
    const { plain, still, learned } = columns(requests);
    const text =
      different.length === 0
        ? this.#style.green('all texts are the same, token for token')
        : this.#style.red(`${different.length} answers differ. That is a bug: please report it.`);
    this.#say(
      `plain ${rateOf(plain).toFixed(1)} · static ${rateOf(still).toFixed(1)} (${times(plain, still)}) · ` +
        `learned ${rateOf(learned).toFixed(1)} tokens/s (${times(plain, learned)}, ${times(still, learned)} of static) · ${text}`,
    );
    return different.length;
  }

  #say(line: string): void {
    this.#out.write(`${line}\n`);
  }
}

function columns(requests: Answers[]): { plain: GenerateResult[]; still: GenerateResult[]; learned: GenerateResult[] } {
  return {
    plain: requests.map(({ plain }) => plain),
    still: requests.map((request) => request.static),
    learned: requests.map(({ learned }) => learned),
  };
}

function tableRow(title: string, requests: Answers[]): string {
  const { plain, still, learned } = columns(requests);
  return [
    title.padEnd(8),
    rateOf(plain).toFixed(1).padStart(15),
    rateOf(still).toFixed(1).padStart(9),
    rateOf(learned).toFixed(1).padStart(9),
    times(still, learned).padStart(12),
    tokensPerPass(still).toFixed(2).padStart(24),
    tokensPerPass(learned).toFixed(2).padStart(9),
  ].join(' ');
}

/** How many times faster the second answers came. */
function times(slow: GenerateResult[], fast: GenerateResult[]): string {
  const seconds = secondsOf(fast);
  return `${(seconds > 0 ? secondsOf(slow) / seconds : 1).toFixed(2)}x`;
}

/** Speed and tokens per pass, request by request. */
function curves(requests: Answers[]): string[] {
  const { plain, still, learned } = columns(requests);
  const rates = [plain, still, learned].map((answers) => answers.map((answer) => rateOf([answer])));
  const lengths = [plain, still, learned].map((answers) => answers.map((answer) => tokensPerPass([answer])));
  const [fastest, longest] = [Math.max(...rates.flat()), Math.max(...lengths.flat())];
  const width = requests.length;
  return [
    `${'request by request'.padEnd(20)}${'tokens/s'.padEnd(width)}  tokens per pass`,
    ...['plain', 'static', 'learned'].map(
      (name, i) => `${name.padStart(18)}  ${sparkline(rates[i], fastest)}  ${sparkline(lengths[i], longest)}`,
    ),
  ];
}
