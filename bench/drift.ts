import type { ChatMessage, Engine, Recording, RequestOptions } from '../lib/index';
import { lines, type Line, type Mark } from '../lib/plot';
import { collect, rate, tau, type Answer } from './common/answer';
import { Bar } from './common/bar';
import { stream } from './common/data';
import { fixedPolicy } from './common/fixed-policy';
import type { BenchOptions } from './common/options';
import { say, tableOf, type Report } from './common/report';
import { differences, mean, random, sum } from './common/stats';
import { window, worstRatio } from './common/windows';
import { costsOf, machineOf, type Costs, type PricedArm } from './drift/prices';
import { shiftsOf } from './drift/recovery';
import { decodeByController, decodeByTable, oracleSeconds } from './sim/decode';
import { appendRecording } from './sim/recording';
import { textOf } from './sim/text';

/** The engines of the suite. */
export interface DriftEngines {
  plain: Engine;
  fast: Engine;
  /** What nvfp4 with everything on is held against: plain fp8. */
  plainFp8: Engine;
  fastNvfp4: Engine;
}

const newTokens = 128;
const names = [
  'lang_drift',
  'role_drift',
  'recall',
  'smooth',
  'mixed',
  'narrow_sql',
  'narrow_rust',
  'narrow_tools',
  'edit',
];
/** A stream of one phase has so many times the requests of a phase. */
const phasesOfOne = 3;
const lookaheads = [1, 2, 3, 4, 6, 8, 12, 16];
/** How fast it is when it has adapted shows in this part of a narrow stream. */
const lastPart = 4;
/** Runs of the controller on recorded drafts whose mean counts; passes are noisy. */
const seeds = 4;
const adaptedStreams = ['narrow_sql', 'narrow_rust'] as const;

/** A request of a stream. */
interface Asked {
  messages: ChatMessage[];
  phase: number;
}

interface Stream {
  name: string;
  asked: Asked[];
  /** Other requests of each phase, for the reference to have seen; none in a stream of one phase. */
  others: Asked[][];
}

type Arm = PricedArm | 'reference';
/** One request answered by every arm. */
interface Answered {
  phase: number;
  arms: Record<Arm, Answer>;
  recording: Recording;
}

/**
 * Traffic that changes: streams of requests whose kind shifts (languages, roles, there and back), moves slowly, is mixed or stays narrow, one
 * request after the other. Arms, back to back on each request: plain; `static`, which drafts from nothing learned; `adaptive`, everything on;
 * `reference`, a tenant that has seen other requests of the phase's kind. Along each text all drafts at all positions are recorded as well: the
 * controller, the oracle and fixed lookaheads are replayed on them, at this run's prices.
 *
 * Summary: `<stream>.speedup` plain over adaptive seconds and `<stream>.worstWindow` the better of plain and static over adaptive in the worst 8
 * requests in a row, both in modelled time (each pass at its arm's median cost in this run for its drafter, rows and context), `<stream>.wallSpeedup` by the
 * clock; `<stream>.acceptanceLength`; `<stream>.regretRatio` the controller's seconds beyond the oracle's over those of the fixed lookahead that
 * was best in hindsight; `<stream>.recoveredShare` of shifts after which tokens a pass were 95 % of the reference's before a quarter of the phase had ended;
 * by the clock, last quarter of the requests: `total.matched` plain over adaptive seconds, the worse of narrow_sql and narrow_rust, `total.edit`,
 * `total.nvfp4OverFp8Plain` tokens a second of nvfp4 with everything on over plain fp8, the better of those two; `mismatches` tokens that
 * differ from plain decoding.
 */
export async function drift(options: BenchOptions, folder: string, engines: DriftEngines): Promise<Report> {
  const streams = names.map((name) => readStream(folder, name, options.limit));
  const bar = new Bar(sum(streams.map(({ asked, others }) => 5 * asked.length + others.flat().length)));
  const answered = new Map<string, Answered[]>();
  for (const each of streams) answered.set(each.name, await answerStream(engines, each, bar));
  if (options.recording !== undefined)
    for (const [name, requests] of answered)
      for (const { recording } of requests) appendRecording(options.recording, name, recording);
  bar.end();
  const report = summarise(answered);
  await addTotals(report, engines, streams, answered);
  show(report);
  return report;
}

/** The first requests of each phase, `limit` of them (0 = all) and no more than half of a phase where phases shift; and as many behind them. */
export function readStream(folder: string, name: string, limit: number): Stream {
  const most = limit || Infinity;
  const all = stream(folder, name);
  const phases = new Set(all.map(({ phase }) => phase));
  if (phases.size === 1) return { name, asked: all.slice(0, phasesOfOne * most), others: [] };
  const shares = [...phases].map((phase) => {
    const inPhase = all.filter((asked) => asked.phase === phase);
    const count = Math.min(most, Math.floor(inPhase.length / 2));
    return { asked: inPhase.slice(0, count), others: inPhase.slice(count, 2 * count) };
  });
  return { name, asked: shares.flatMap(({ asked }) => asked), others: shares.map(({ others }) => others) };
}

async function answerStream(
  { plain, fast }: DriftEngines,
  { name, asked, others }: Stream,
  bar: Bar,
): Promise<Answered[]> {
  const ask = (engine: Engine, messages: ChatMessage[], how: RequestOptions): Promise<Answer> => {
    bar.step();
    return collect(engine.chatStream(messages, { maxTokens: newTokens, temperature: 0, explain: true, ...how }));
  };
  const answered: Answered[] = [];
  const still: RequestOptions = { tenant: `${name} static`, speculation: { speculator: 'static' } };
  for (const [i, { messages, phase }] of asked.entries()) {
    bar.show(`${name}: request ${i + 1} of ${asked.length}`);
    const reference = { tenant: `${name} reference ${phase}` };
    if (phase !== asked[i - 1]?.phase)
      for (const other of others[phase] ?? []) await ask(fast, other.messages, reference);
    const work: Record<PricedArm, () => Promise<Answer>> = {
      plain: () => ask(plain, messages, {}),
      static: () => ask(fast, messages, still),
      adaptive: () => ask(fast, messages, { tenant: name }),
    };
    const arms: Partial<Record<Arm, Answer>> = {};
    const order = ['plain', 'static', 'adaptive'] as const;
    for (let turn = 0; turn < order.length; ++turn) {
      const arm = order[(turn + i) % order.length];
      arms[arm] = await work[arm]();
    }
    arms.reference = others.length > 0 ? await ask(fast, messages, reference) : arms.adaptive;
    const record = { maxTokens: newTokens, temperature: 0, tenant: `${name} record`, speculation: { record: true } };
    const { recording } = await fast.chat(messages, record);
    bar.step();
    answered.push({ phase, arms: arms as Record<Arm, Answer>, recording: recording! });
  }
  await fast.forget();
  return answered;
}

function summarise(answered: Map<string, Answered[]>): Report {
  const report: Report = { suite: 'drift', summary: { mismatches: 0 }, rows: [] };
  const all = Array.from(answered.values()).flat();
  const costs = costsOf(all.map(({ arms }) => arms));
  for (const [name, requests] of answered) addStream(report, name, requests, costs);
  report.plot = lines('Means of 8 requests', 'requests, stream by stream', curvesOf(all), marksOf(answered));
  return report;
}

function addStream(report: Report, name: string, requests: Answered[], costs: Costs): void {
  const { summary } = report;
  const seconds = (arm: PricedArm): number[] => requests.map(({ arms }) => costs.arms[arm].seconds(arms[arm].passes));
  const modelled = { plain: seconds('plain'), static: seconds('static'), adaptive: seconds('adaptive') };
  const of = (arm: Arm): Answer[] => requests.map(({ arms }) => arms[arm]);
  const wall = (arm: Arm): number => sum(of(arm).map((answer) => answer.seconds));
  summary[`${name}.speedup`] = sum(modelled.plain) / sum(modelled.adaptive);
  summary[`${name}.wallSpeedup`] = wall('plain') / wall('adaptive');
  summary[`${name}.acceptanceLength`] = tau(of('adaptive'));
  summary[`${name}.worstWindow`] = worstRatio(modelled.adaptive, modelled.plain, modelled.static);
  const regret = regretOf(requests, costs);
  summary[`${name}.regretRatio`] = regret.controller / regret.bestFixed;
  const shifts = shiftsOf(requests);
  if (shifts.length > 0)
    summary[`${name}.recoveredShare`] = shifts.filter(({ inTime }) => inTime).length / shifts.length;
  for (const { arms } of requests)
    for (const answer of Object.values(arms)) summary['mismatches'] += differences(arms.plain.tokens, answer.tokens);
  report.rows.push({
    ...{ stream: name, requests: requests.length, speedup: summary[`${name}.speedup`] },
    overStatic: sum(modelled.static) / sum(modelled.adaptive),
    ...{ wallSpeedup: summary[`${name}.wallSpeedup`], staticTau: tau(of('static')), tau: tau(of('adaptive')) },
    ...{ worstWindow: summary[`${name}.worstWindow`], controllerRegret: regret.controller },
    ...{ bestFixed: regret.lookahead, fixedRegret: regret.bestFixed, plainRegret: regret.plain },
    ...{ regretRatio: summary[`${name}.regretRatio`], recovered: summary[`${name}.recoveredShare`] },
    shifts,
    curve: requests.map(({ phase, arms }) => ({
      phase,
      ...Object.fromEntries(Object.entries(arms).map(([arm, answer]) => [`${arm}Tau`, tau([answer])])),
      ...Object.fromEntries(Object.entries(arms).map(([arm, answer]) => [`${arm}TokS`, rate([answer])])),
    })),
  });
}

/** Seconds beyond the oracle's, as a share of those: of what the controller did, of the best fixed lookahead, of plain decoding. */
function regretOf(
  requests: Answered[],
  { drafting, plainRound }: Costs,
): { controller: number; plain: number; bestFixed: number; lookahead: number } {
  const machine = machineOf(drafting);
  const texts = requests.map(({ recording }) => textOf(recording));
  const oracle = oracleSeconds(machine, texts);
  const beyond = (seconds: number): number => seconds / oracle - 1;
  const fixed = lookaheads.map((lookahead) => ({
    lookahead,
    regret: beyond(decodeByTable(machine, texts, fixedPolicy(lookahead)).seconds),
  }));
  const best = fixed.reduce((a, b) => (b.regret < a.regret ? b : a));
  const controlled = Array.from(
    { length: seeds },
    (_, seed) => decodeByController(machine, texts, random(seed)).seconds,
  );
  const plain = plainRound * sum(requests.map(({ arms }) => arms.plain.passes.length));
  return {
    ...{ controller: beyond(mean(controlled)), plain: beyond(plain) },
    ...{ bestFixed: best.regret, lookahead: best.lookahead },
  };
}

/** By the clock, when everything has adapted. */
async function addTotals(
  { summary }: Report,
  { plainFp8, fastNvfp4 }: DriftEngines,
  streams: Stream[],
  answered: Map<string, Answered[]>,
): Promise<void> {
  const last = (name: string): Answered[] => {
    const requests = answered.get(name)!;
    return requests.slice(-Math.ceil(requests.length / lastPart));
  };
  const over = (name: string): number =>
    sum(last(name).map(({ arms }) => arms.plain.seconds)) / sum(last(name).map(({ arms }) => arms.adaptive.seconds));
  summary['total.matched'] = Math.min(...adaptedStreams.map(over));
  summary['total.edit'] = over('edit');
  const ratios: number[] = [];
  for (const name of adaptedStreams) {
    const { asked } = streams.find((each) => each.name === name)!;
    const from = asked.length - Math.ceil(asked.length / lastPart);
    const slow: Answer[] = [];
    const quick: Answer[] = [];
    for (const [i, { messages }] of asked.entries()) {
      const how = { maxTokens: newTokens, temperature: 0, tenant: name };
      const answer = await collect(fastNvfp4.chatStream(messages, how));
      if (i < from) continue;
      quick.push(answer);
      slow.push(await collect(plainFp8.chatStream(messages, how)));
    }
    ratios.push(rate(quick) / rate(slow));
  }
  summary['total.nvfp4OverFp8Plain'] = Math.max(...ratios);
}

/** All streams one behind the other: tokens a pass by arm, and tokens a second over plain's. */
function curvesOf(requests: Answered[]): Line[] {
  const latest = requests.map((_, i) => requests.slice(Math.max(0, i + 1 - window), i + 1));
  const of = (arm: Arm, inside: Answered[]): Answer[] => inside.map(({ arms }) => arms[arm]);
  const length = (arm: Arm): number[] => latest.map((inside) => tau(of(arm, inside)));
  const speed = latest.map((inside) => rate(of('adaptive', inside)) / rate(of('plain', inside)));
  return [
    { name: 'tokens a pass', values: length('adaptive') },
    { name: '… static', values: length('static'), dashed: true },
    { name: '… reference', values: length('reference') },
    { name: 'speed over plain', values: speed },
  ];
}

/** Where streams and their phases begin. */
function marksOf(answered: Map<string, Answered[]>): Mark[] {
  const marks: Mark[] = [];
  let at = 1;
  for (const [name, requests] of answered) {
    requests.forEach(({ phase }, i) => {
      if (i === 0 || phase !== requests[i - 1].phase) marks.push({ at: at + i, name: i === 0 ? name : String(phase) });
    });
    at += requests.length;
  }
  return marks;
}

const columns = {
  stream: 'stream',
  requests: 'requests',
  speedup: 'speed-up',
  overStatic: 'over static',
  wallSpeedup: 'by the clock',
  staticTau: 'tau static',
  tau: 'tau',
  worstWindow: 'worst 8',
  controllerRegret: 'regret',
  fixedRegret: 'best fixed',
  bestFixed: 'lookahead',
  plainRegret: 'plain',
  regretRatio: 'regret ratio',
  recovered: 'recovered',
} as const;

function show({ rows, summary }: Report): void {
  tableOf(columns, rows);
  say(
    `adapted, by the clock: ${summary['total.matched'].toFixed(2)}x of plain (the worse of ${adaptedStreams.join(' and ')}), ` +
      `edit ${summary['total.edit'].toFixed(2)}x; nvfp4 with everything on ${summary['total.nvfp4OverFp8Plain'].toFixed(2)}x of plain fp8; ` +
      `mismatches ${summary['mismatches']}`,
  );
}
