import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatMessage, Engine, RequestOptions } from '../lib/index';
import { collect, rate, tau, type Answer } from './common/answer';
import { Bar } from './common/bar';
import { stream } from './common/data';
import type { BenchOptions } from './common/options';
import { say, table, type Report } from './common/report';
import { differences, median, random, sum } from './common/stats';

/** Sequences at a time, and how many pairs of plain and speculative decoding are timed of each. */
const batches = [
  [1, 10],
  [2, 6],
  [4, 4],
  [8, 3],
  [16, 3],
  [32, 3],
] as const;
/**
 * The same for speculation that is switched off: more of them, for what is looked for is a hundredth, and of two engines that do the same
 * one is ahead by 3 % in a pair.
 */
const offBatches = [
  [1, 60],
  [8, 40],
  [32, 15],
] as const;
const newTokens = 128;
/** Of an answer that is only timed by the pass. */
const offTokens = 48;
/** Longest prompt in characters: what is measured is decoding, not the reading of prompts. */
const longestPrompt = 900;
/** Requests that arrive by and by, for each sequence that the batch has room for, and the share of what plain decoding can take. */
const arrivalsPerSequence = 2;
const offered = 0.9;
/** Rounds without speculation, before it is switched on again for so many requests. */
const roundsOff = 500;
const requestsOn = 8;

/** How one arm asks. */
type Arm = [Engine, Pick<RequestOptions, 'speculation' | 'tenant' | 'maxTokens'>];
type Conversation = ChatMessage[];
type Arms = Record<'plain' | 'fast', Arm>;

/** What is asked, and how far the suite has come. */
interface Traffic {
  asked: Conversation[];
  bar: Bar;
}

/** What one arm did with a batch. */
interface Load {
  /** Seconds from the first arrival to the last token, and a request's on average. */
  seconds: number;
  latency: number;
  answers: Answer[];
}

/**
 * Many requests at a time: 1 to 32 that arrive at once, then at random moments (Poisson, nine tenths of what plain decoding can take),
 * 128 tokens each, against an engine loaded with speculation disabled. Both arms answer each batch back to back.
 *
 * Summary: `b<N>.ratioToPlain` plain over our seconds from N arrivals at once to the last token, median of pairs; `b<N>.poissonToPlain`
 * plain over our mean seconds of a request; `off.b<N>.tpotRatio` seconds a token with speculation switched off per request over plain's,
 * medians of tokens, then of pairs; `resume.acceptanceRatio` tokens a pass in the first requests after 500 rounds off, over those of a tenant
 * that has seen the same requests with speculation on; `mismatches` tokens that differ.
 *
 * @param plain, fast Both for 32 sequences.
 */
export async function load(options: BenchOptions, folder: string, plain: Engine, fast: Engine): Promise<Report> {
  const asked = stream(folder, 'mixed')
    .map(({ messages }) => messages)
    .filter((messages) => sum(messages.map(({ content }) => content?.length ?? 0)) <= longestPrompt);
  const report: Report = { suite: 'load', summary: { mismatches: 0 }, rows: [] };
  const most = options.limit || Infinity;
  const sizes = batches.filter(([size]) => size <= most);
  const offSizes = offBatches.filter(([size]) => size <= most);
  const bar = new Bar(2 * (sum(sizes.map(([, pairs]) => pairs + 1)) + sum(offSizes.map(([, pairs]) => pairs))));
  const traffic = { asked, bar };
  const on: Arms = { plain: [plain, {}], fast: [fast, {}] };
  const off: Arms = {
    plain: [plain, { maxTokens: offTokens }],
    fast: [fast, { maxTokens: offTokens, tenant: 'off', speculation: { enabled: false } }],
  };
  for (const [size, pairs] of sizes) await addBatch(report, on, size, pairs, traffic);
  for (const [size, pairs] of offSizes) {
    const loads = await atOnce(off, size, pairs, traffic, `${size}, switched off`);
    report.summary[`off.b${size}.tpotRatio`] = median(
      loads.map((pair) => passSeconds(pair.fast) / passSeconds(pair.plain)),
    );
  }
  bar.end();
  report.summary['resume.acceptanceRatio'] = await resume(fast, asked);
  show(report);
  return report;
}

async function addBatch(report: Report, arms: Arms, size: number, pairs: number, traffic: Traffic): Promise<void> {
  const loads = await atOnce(arms, size, pairs, traffic, `${size} at once`);
  const plainSeconds = sum(loads.map(({ plain }) => plain.seconds)) / pairs;
  const next = random(size);
  const batch = window(traffic.asked, 0, size * arrivalsPerSequence);
  let moment = 0;
  const at = batch.map(() => (moment -= (Math.log(1 - next()) * plainSeconds) / (size * offered)));
  const later = await both(arms, size, (arm) => run(arms[arm], batch, at), traffic.bar, `${size} by and by`);
  const ratioToPlain = median(loads.map(({ plain, fast }) => plain.seconds / fast.seconds));
  const poissonToPlain = later.plain.latency / later.fast.latency;
  report.summary['mismatches'] += sum([...loads, later].map(mismatches));
  report.summary[`b${size}.ratioToPlain`] = ratioToPlain;
  report.summary[`b${size}.poissonToPlain`] = poissonToPlain;
  report.rows.push({
    sequences: size,
    plainTokS: (size * newTokens) / plainSeconds,
    ratioToPlain,
    tpotRatio: median(loads.map(({ plain, fast }) => rate(fast.answers) / rate(plain.answers))),
    acceptanceLength: tau(later.fast.answers),
    poissonToPlain,
  });
}

/** Pairs of batches of which all requests arrive at once. */
async function atOnce(
  arms: Arms,
  size: number,
  pairs: number,
  { asked, bar }: Traffic,
  title: string,
): Promise<Record<keyof Arms, Load>[]> {
  const loads: Record<keyof Arms, Load>[] = [];
  for (let pair = 0; pair < pairs; ++pair) {
    const batch = window(asked, pair * size, size);
    const at = batch.map(() => 0);
    loads.push(await both(arms, pair, (arm) => run(arms[arm], batch, at), bar, title));
  }
  return loads;
}

/** Two tenants see the same requests; one has speculation switched off until it has decoded for 500 rounds. */
async function resume(engine: Engine, asked: Conversation[]): Promise<number> {
  const slept: Answer[] = [];
  const awake: Answer[] = [];
  const ask = async (messages: Conversation, tenant: string, enabled: boolean): Promise<Answer> =>
    collect(engine.chatStream(messages, { maxTokens: newTokens, temperature: 0, tenant, speculation: { enabled } }));
  let rounds = 0;
  for (const messages of asked) {
    if (slept.length === requestsOn) break;
    const off = rounds < roundsOff;
    const answers = [await ask(messages, 'slept', !off), await ask(messages, 'awake', true)];
    if (off) {
      rounds += answers[0].rounds;
      continue;
    }
    slept.push(answers[0]);
    awake.push(answers[1]);
  }
  return tau(slept) / tau(awake);
}

/** Both arms one after the other, every second time the other way round. */
async function both(
  arms: Arms,
  turn: number,
  work: (arm: keyof Arms) => Promise<Load>,
  bar: Bar,
  title: string,
): Promise<Record<keyof Arms, Load>> {
  const loads: Partial<Record<keyof Arms, Load>> = {};
  for (const arm of turn % 2 ? (['plain', 'fast'] as const) : (['fast', 'plain'] as const)) {
    for (const [engine] of Object.values(arms)) await engine.forget();
    bar.show(title);
    loads[arm] = await work(arm);
    bar.step();
  }
  return loads as Record<keyof Arms, Load>;
}

/** Asks at the given seconds, and waits for all answers. */
async function run([engine, how]: Arm, batch: Conversation[], at: number[]): Promise<Load> {
  const began = performance.now();
  const latencies: number[] = [];
  const answers = await Promise.all(
    batch.map(async (messages, i) => {
      await sleep(at[i] * 1000);
      const asked = performance.now();
      const answer = await collect(engine.chatStream(messages, { maxTokens: newTokens, temperature: 0, ...how }));
      latencies.push((performance.now() - asked) / 1000);
      return answer;
    }),
  );
  return { seconds: (performance.now() - began) / 1000, latency: sum(latencies) / latencies.length, answers };
}

/** `count` conversations from the i-th on, over and over. */
function window(asked: Conversation[], i: number, count: number): Conversation[] {
  return Array.from({ length: count }, (_, n) => asked[(i + n) % asked.length]);
}

/** Of one pass, each of which brings every sequence a token. */
function passSeconds({ answers }: Load): number {
  return median(answers.map(({ gap }) => gap));
}

function mismatches({ plain, fast }: Record<keyof Arms, Load>): number {
  return sum(plain.answers.map(({ tokens }, i) => differences(tokens, fast.answers[i].tokens)));
}

function show({ rows, summary }: Report): void {
  table(
    ['at a time', 'plain tok/s', 'at once', 'seconds a token', 'accept. length', 'by and by'],
    rows.map((row) => Object.values(row) as number[]),
  );
  for (const [size] of offBatches) {
    const ratio = summary[`off.b${size}.tpotRatio`];
    if (ratio !== undefined) say(`switched off, ${size} at a time: ${ratio.toFixed(3)} of plain's seconds a token`);
  }
  say(
    `after ${roundsOff} rounds off: ${summary['resume.acceptanceRatio'].toFixed(3)} of the acceptance length of a tenant ` +
      `that never slept; mismatches ${summary['mismatches']}`,
  );
}
