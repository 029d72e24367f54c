import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatMessage, Engine, RequestOptions } from '../lib/index';
import { collect, rate, tau, type Answer } from './common/answer';
import { Bar } from './common/bar';
import { stream } from './common/data';
import type { BenchOptions } from './common/options';
import { lines, type Line } from '../lib/plot';
import { armPrices, type PassPrices } from './common/prices';
import { say, tableOf, type Report } from './common/report';
import { differences, sum } from './common/stats';
import { acceptedShares, day0Requests, modelled, over, smooth, worstWindow } from './learn/requests';
import type { Arm, Requests } from './learn/requests';

/** The engines of the suite; `day0` has no static memory; in both heads learn if the suite was asked for that. */
export interface LearnEngines {
  plain: Engine;
  fast: Engine;
  day0: Engine;
}

const newTokens = 128;
const names = ['narrow_sql', 'narrow_rust', 'narrow_tools', 'edit', 'mixed'] as const;

/** How an arm asks for its answers. */
type Ask = [Engine, RequestOptions];
/** Drafts from nothing that was learned; what drafts are worth is learned all the same. */
const still: RequestOptions = { speculation: { speculator: 'static' } };
/** The head's weights alone, with what they have learned and without. */
const weightsAlone: RequestOptions = { speculation: { speculator: 'head' } };
type Streams = Map<string, { messages: ChatMessage[] }[]>;

/**
 * Streams of requests, each alone, one request after the other without a pause: what having seen the earlier ones brings. `static` drafts
 * from the request's own text and the static memory; `learned` also from the stream's earlier requests; `day0` learns
 * without a static memory. All arms answer each request back to back.
 *
 * Summary, over the last quarter of a narrow stream's requests, all of mixed: `<stream>.speedup` plain over learned seconds,
 * `<stream>.acceptanceLength`, `<stream>.learnedOverStatic` static over learned seconds; over all: `<stream>.day0Requests` after how many
 * requests learning without a static memory has taken less time than plain decoding and stays so; `mixed.worstWindow` static over learned
 * in the worst 8 requests in a row, in modelled time; `idle.<stream>.learnedOverStatic` with a pause after each learned answer as long as
 * the answer took (`idle`); `<stream>.weightsOnlyOverStatic` and, with such pauses, `idle.<stream>.weightsOnlyOverStatic` the head's
 * weights alone, no memory and no other drafter, where there is a head (`idle`); `calibration.ece`, in tokens, and `calibration.seconds`; `mismatches` tokens that differ from plain decoding.
 *
 * @returns The report and a plot of acceptance length against requests.
 */
export async function learn(options: BenchOptions, folder: string, engines: LearnEngines): Promise<Report> {
  const streams: Streams = new Map(names.map((name) => [name, stream(folder, name, options.limit || Infinity)]));
  const requests = sum(Array.from(streams.values(), ({ length }) => length));
  const weights = options.idle && engines.day0.stats().headBytes > 0;
  const bar = new Bar(requests * (4 + (options.idle ? 3 : 0) + (weights ? 5 : 0)));
  const answered = new Map<string, Requests>();
  for (const [name, asked] of streams) {
    const arms: Record<Arm, Ask> = {
      plain: [engines.plain, { tenant: name }],
      static: [engines.fast, { tenant: `${name} static`, ...still }],
      learned: [engines.fast, { tenant: name }],
      day0: [engines.day0, { tenant: name }],
    };
    answered.set(name, await replay(asked, arms, (done) => step(bar, name, done, asked.length)));
    for (const engine of [engines.fast, engines.day0]) await engine.forget({ tenant: name });
  }
  const report = summarise(answered);
  const stats = engines.fast.stats();
  report.summary['calibration.ece'] = stats.calibrationError;
  report.summary['calibration.seconds'] = stats.calibrationSeconds;
  if (options.idle) {
    Object.assign(report.summary, await idle(streams, engines.fast, bar));
    if (weights) Object.assign(report.summary, await weightsOnly(streams, engines.day0, bar));
  }
  bar.end();
  show(report);
  return report;
}

async function replay<A extends string>(
  asked: { messages: ChatMessage[] }[],
  arms: Record<A, Ask>,
  onAnswer: (request: number) => void,
  think = 0,
): Promise<Record<A, Answer>[]> {
  const requests: Record<A, Answer>[] = [];
  const order = Object.keys(arms) as A[];
  for (const [i, { messages }] of asked.entries()) {
    const answers: Partial<Record<A, Answer>> = {};
    for (const arm of i % 2 ? order : [...order].reverse()) {
      const [engine, ask] = arms[arm];
      const how = { maxTokens: newTokens, temperature: 0, explain: true, ...ask };
      const answer = await collect(engine.chatStream(messages, how));
      answers[arm] = answer;
      if (how.learn !== false) await sleep(think * answer.seconds * 1000);
      onAnswer(i);
    }
    requests.push(answers as Record<A, Answer>);
  }
  return requests;
}

function step(bar: Bar, name: string, request: number, requests: number): void {
  bar.step();
  bar.show(`${name}: request ${request + 1} of ${requests}`);
}

/** The streams once more, with a pause after each learned answer as long as the answer took: time to learn in. */
async function idle(streams: Streams, fast: Engine, bar: Bar): Promise<Record<string, number>> {
  const summary: Record<string, number> = {};
  for (const [name, asked] of streams)
    summary[`idle.${name}.learnedOverStatic`] = await again(
      name,
      'idle',
      asked,
      fast,
      { static: still, learned: {} },
      1,
      bar,
    );
  return summary;
}

/** What the head's weights learn by themselves: nobody else drafts. Without pauses, then with them. */
async function weightsOnly(streams: Streams, day0: Engine, bar: Bar): Promise<Record<string, number>> {
  const summary: Record<string, number> = {};
  const asks = { static: { ...weightsAlone, learn: false }, learned: weightsAlone };
  for (const [name, asked] of streams) {
    summary[`${name}.weightsOnlyOverStatic`] = await again(name, 'weights', asked, day0, asks, 0, bar);
    summary[`idle.${name}.weightsOnlyOverStatic`] = await again(name, 'idle weights', asked, day0, asks, 1, bar);
  }
  return summary;
}

/** A stream once more, as a tenant of its own: seconds without learning by seconds with it, where it is judged. */
async function again(
  name: string,
  how: string,
  asked: { messages: ChatMessage[] }[],
  engine: Engine,
  asks: Record<'static' | 'learned', RequestOptions>,
  think: number,
  bar: Bar,
): Promise<number> {
  const arms: Record<'static' | 'learned', Ask> = {
    static: [engine, { ...asks.static, tenant: `${how} ${name} static` }],
    learned: [engine, { ...asks.learned, tenant: `${how} ${name}` }],
  };
  let answers = 0;
  const onAnswer = (done: number): void => {
    // Two answers and perhaps a pause, in a bar that counts answers.
    if (++answers % 2 === 0) for (let i = 0; i < think; ++i) bar.step();
    step(bar, `${name}, ${how}`, done, asked.length);
  };
  const requests = await replay(asked, arms, onAnswer, think);
  await engine.forget({ tenant: `${how} ${name}` });
  return over(judged(name, requests), 'static', 'learned');
}

/** The last quarter of a narrow stream, all of a mixture. */
function judged<T>(name: string, requests: T[]): T[] {
  return name === 'mixed' ? requests : requests.slice(-Math.ceil(requests.length / 4));
}

function summarise(answered: Map<string, Requests>): Report {
  const report: Report = { suite: 'learn', summary: { mismatches: 0 }, rows: [] };
  const prices = armPrices(Array.from(answered.values()).flat(), ['static', 'learned']);
  const curves: Line[] = [];
  for (const [name, requests] of answered) {
    addStream(report, name, requests, prices);
    curves.push({ name, values: smooth(requests.map(({ learned }) => tau([learned]))) });
    const still = smooth(requests.map((request) => tau([request.static])));
    curves.push({ name: `${name}, static`, dashed: true, values: still });
  }
  report.plot = lines('Tokens a pass (mean of 8 requests)', 'requests', curves);
  return report;
}

function addStream(
  report: Report,
  name: string,
  all: Requests,
  prices: Record<'static' | 'learned', PassPrices>,
): void {
  const { summary } = report;
  const last = judged(name, all);
  const learned = last.map((request) => request.learned);
  const still = last.map((request) => request.static);
  const seconds = modelled(all, prices);
  const ofLast = judged(name, seconds);
  summary[`${name}.speedup`] = over(last, 'plain', 'learned');
  summary[`${name}.acceptanceLength`] = tau(learned);
  summary[`${name}.learnedOverStatic`] = over(last, 'static', 'learned');
  summary[`${name}.day0Requests`] = day0Requests(all);
  if (name === 'mixed') summary['mixed.worstWindow'] = worstWindow(seconds);
  for (const { plain, ...drafted } of all)
    for (const answer of Object.values(drafted)) summary['mismatches'] += differences(plain.tokens, answer.tokens);
  report.rows.push({
    stream: name,
    requests: all.length,
    plainTokS: rate(last.map(({ plain }) => plain)),
    staticTokS: rate(still),
    learnedTokS: rate(learned),
    speedup: summary[`${name}.speedup`],
    learnedOverStatic: summary[`${name}.learnedOverStatic`],
    modelledOverStatic: sum(ofLast.map((each) => each.static)) / sum(ofLast.map((each) => each.learned)),
    staticTau: tau(still),
    learnedTau: summary[`${name}.acceptanceLength`],
    day0Tau: tau(last.map(({ day0 }) => day0)),
    day0Requests: summary[`${name}.day0Requests`],
    worstWindow: worstWindow(seconds),
    worstWindowWall: worstWindow(all.map((each) => ({ static: each.static.seconds, learned: each.learned.seconds }))),
    curve: all.map(curvePoint),
  });
}

function curvePoint(request: Requests[number]): Record<string, unknown> {
  return {
    plainTokS: rate([request.plain]),
    staticTokS: rate([request.static]),
    learnedTokS: rate([request.learned]),
    staticTau: tau([request.static]),
    learnedTau: tau([request.learned]),
    accepted: acceptedShares([request.learned]),
  };
}

const columns = {
  stream: 'stream',
  requests: 'requests',
  plainTokS: 'plain tok/s',
  staticTokS: 'static',
  learnedTokS: 'learned',
  speedup: 'speed-up',
  learnedOverStatic: 'over static',
  modelledOverStatic: 'modelled',
  staticTau: 'tau static',
  learnedTau: 'tau learned',
  day0Tau: 'tau day 0',
  day0Requests: 'day 0 pays after',
  worstWindow: 'worst 8',
} as const;

function show({ rows, summary }: Report): void {
  tableOf(columns, rows);
  say(
    `last quarter of each narrow stream, all of mixed; modelled, worst 8: each pass at its median cost; ` +
      `calibration error ${summary['calibration.ece'].toFixed(3)} of tokens, ${summary['calibration.seconds'].toFixed(3)} of seconds; mismatches ${summary['mismatches']}`,
  );
  for (const name of names) {
    const gain = summary[`idle.${name}.learnedOverStatic`];
    if (gain !== undefined) say(`with pauses, ${name}: ${gain.toFixed(3)}x of static`);
    const weights = summary[`${name}.weightsOnlyOverStatic`];
    const paused = summary[`idle.${name}.weightsOnlyOverStatic`];
    if (weights !== undefined)
      say(`weights alone, ${name}: ${weights.toFixed(3)}x of static, with pauses ${paused.toFixed(3)}x`);
  }
}
