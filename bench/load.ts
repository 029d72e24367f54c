import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatMessage, Engine, RequestOptions } from '../lib/index';
import { collect, rate, tau, type Answer } from './common/answer';
import { Bar } from './common/bar';
import { stream } from './common/data';
import type { BenchOptions } from './common/options';
import { figure, say, tableOf, type Report } from './common/report';
import { differences, mean, median, random, sum } from './common/stats';
import { inBothOrders, spread, type Pair } from './load/pairs';

/** Sequences at a time, and how often both orders of plain and speculative decoding are timed: of two equal engines one is ahead by 3 % in a pair. */
const batches = [
  [1, 5],
  [2, 4],
  [4, 4],
  [8, 4],
  [16, 4],
  [32, 4],
] as const;
/** The same for speculation that is switched off: more of them, for what is looked for is a hundredth. */
const offBatches = [
  [1, 30],
  [8, 20],
  [32, 8],
] as const;
/** The same for requests that come by and by; there are more of them in a pair. */
const poissonTurns = 1;
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
type Arms = Pair<Arm>;

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
 * at most 128 tokens each, against an engine loaded with speculation disabled. Both arms answer each batch back to back, as often in the one
 * order as in the other.
 *
 * Summary: `b<N>.ratioToPlain` plain over our seconds from N arrivals at once to the last token, median of pairs; `b<N>.poissonToPlain`
 * plain over our mean seconds of a request, of pairs with the same arrivals; `off.b<N>.tpotRatio` seconds a token with speculation switched off per request over plain's,
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
  const bar = new Bar(
    4 * (sum(sizes.map(([, turns]) => turns + poissonTurns)) + sum(offSizes.map(([, turns]) => turns))),
  );
  const traffic = { asked, bar };
  const on: Arms = { plain: [plain, {}], fast: [fast, {}] };
  const off: Arms = {
    plain: [plain, { maxTokens: offTokens }],
    fast: [fast, { maxTokens: offTokens, tenant: 'off', speculation: { enabled: false } }],
  };
  for (const [size, turns] of sizes) await addBatch(report, on, size, turns, traffic);
  for (const [size, turns] of offSizes) {
    const loads = await atOnce(off, size, turns, traffic, `${size}, switched off`);
    const ratio = spread(loads, ({ plain, fast }) => passSeconds(fast) / passSeconds(plain));
    report.summary[`off.b${size}.tpotRatio`] = ratio.median;
    report.rows.push({ switchedOff: size, tpotRatio: ratio.median, tpotRange: ratio.range });
  }
  bar.end();
  report.summary['resume.acceptanceRatio'] = await resume(fast, asked);
  show(report);
  return report;
}

async function addBatch(report: Report, arms: Arms, size: number, turns: number, traffic: Traffic): Promise<void> {
  const loads = await atOnce(arms, size, turns, traffic, `${size} at once`);
  const plainSeconds = mean(loads.map(({ plain }) => plain.seconds));
  const later = await byAndBy(arms, size, plainSeconds, traffic);
  const atOnceRatio = spread(loads, ({ plain, fast }) => plain.seconds / fast.seconds);
  const poisson = spread(later, ({ plain, fast }) => plain.latency / fast.latency);
  report.summary['mismatches'] += sum([...loads, ...later].map(mismatches));
  report.summary[`b${size}.ratioToPlain`] = atOnceRatio.median;
  report.summary[`b${size}.poissonToPlain`] = poisson.median;
  report.rows.push({
    ...{ sequences: size, plainTokS: tokensPerSecond(loads.map(({ plain }) => plain)) },
    ...{ ratioToPlain: atOnceRatio.median, ratioRange: atOnceRatio.range },
    tpotRatio: median(loads.map(({ plain, fast }) => rate(plain.answers) / rate(fast.answers))),
    acceptanceLength: tau(later.flatMap(({ fast }) => fast.answers)),
    ...{ poissonToPlain: poisson.median, poissonRange: poisson.range },
  });
}

/** Pairs of batches of which all requests arrive at once. */
function atOnce(
  arms: Arms,
  size: number,
  turns: number,
  { asked, bar }: Traffic,
  title: string,
): Promise<Pair<Load>[]> {
  const work = (arm: Arm, pair: number): Promise<Load> => run(arm, window(asked, pair * size, size));
  return both(arms, turns, work, bar, title);
}

/** Pairs of batches whose requests arrive at random moments, in all at the same ones. */
function byAndBy(arms: Arms, size: number, plainSeconds: number, { asked, bar }: Traffic): Promise<Pair<Load>[]> {
  const next = random(size);
  const batch = window(asked, 0, size * arrivalsPerSequence);
  let moment = 0;
  const at = batch.map(() => (moment -= (Math.log(1 - next()) * plainSeconds) / (size * offered)));
  return both(arms, poissonTurns, (arm) => run(arm, batch, at), bar, `${size} by and by`);
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

/** Both arms in both orders, each time with nothing remembered. */
function both(
  arms: Arms,
  turns: number,
  work: (arm: Arm, pair: number) => Promise<Load>,
  bar: Bar,
  title: string,
): Promise<Pair<Load>[]> {
  return inBothOrders(turns, async (name, pair) => {
    for (const [engine] of [arms.plain, arms.fast]) await engine.forget();
    bar.show(title);
    const load = await work(arms[name], pair);
    bar.step();
    return load;
  });
}

/** Asks, at the given seconds or at once, and waits for all answers. */
async function run([engine, how]: Arm, batch: Conversation[], at: number[] = []): Promise<Load> {
  const began = performance.now();
  const latencies: number[] = [];
  const answers = await Promise.all(
    batch.map(async (messages, i) => {
      await sleep((at[i] ?? 0) * 1000);
      const asked = performance.now();
      const answer = await collect(engine.chatStream(messages, { maxTokens: newTokens, temperature: 0, ...how }));
      latencies.push((performance.now() - asked) / 1000);
      return answer;
    }),
  );
  return { seconds: (performance.now() - began) / 1000, latency: mean(latencies), answers };
}

/** `count` conversations from the i-th on, over and over. */
function window(asked: Conversation[], i: number, count: number): Conversation[] {
  return Array.from({ length: count }, (_, n) => asked[(i + n) % asked.length]);
}

/** Tokens that came, by seconds from the first arrival to the last token. */
export function tokensPerSecond(loads: Pick<Load, 'seconds' | 'answers'>[]): number {
  const tokens = loads.flatMap(({ answers }) => answers.map((answer) => answer.tokens.length));
  return sum(tokens) / sum(loads.map(({ seconds }) => seconds));
}

/** Of one pass, each of which brings every sequence a token. */
function passSeconds({ answers }: Load): number {
  return median(answers.map(({ gap }) => gap));
}

function mismatches({ plain, fast }: Pair<Load>): number {
  return sum(plain.answers.map(({ tokens }, i) => differences(tokens, fast.answers[i].tokens)));
}

const columns = {
  sequences: 'at a time',
  plainTokS: 'plain tok/s',
  ratioToPlain: 'at once',
  ratioRange: 'of pairs',
  tpotRatio: 'seconds a token',
  acceptanceLength: 'accept. length',
  poissonToPlain: 'by and by',
  poissonRange: 'of pairs',
} as const;

function show({ rows, summary }: Report): void {
  const range = (of: unknown): string => (of as number[]).map(figure).join('-');
  const shown = rows
    .filter(({ sequences }) => sequences !== undefined)
    .map((row) => ({ ...row, ratioRange: range(row.ratioRange), poissonRange: range(row.poissonRange) }));
  tableOf(columns, shown);
  for (const { switchedOff, tpotRatio, tpotRange } of rows)
    if (switchedOff !== undefined)
      say(
        `switched off, ${switchedOff as number} at a time: ${(tpotRatio as number).toFixed(3)} of plain's seconds a token, ` +
          `of pairs ${range(tpotRange)}`,
      );
  say(
    `after ${roundsOff} rounds off: ${summary['resume.acceptanceRatio'].toFixed(3)} of the acceptance length of a tenant ` +
      `that never slept; mismatches ${summary['mismatches']}`,
  );
}
