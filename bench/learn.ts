import type { Engine, RequestOptions } from '../lib/index';
import { collect, type Answer } from './common/answer';
import { stream } from './common/data';
import type { BenchOptions } from './common/options';
import { lines, type Line } from './common/plot';
import { progress, progressDone, say, table, type Report } from './common/report';
import { differences, sum } from './common/stats';

/** The engines of the suite; `day0` has no static memory. */
export interface LearnEngines {
  plain: Engine;
  fast: Engine;
  day0: Engine;
}

const newTokens = 128;
const window = 8;
const narrow = ['narrow_sql', 'narrow_rust', 'narrow_tools', 'edit'] as const;
const arms = ['plain', 'static', 'learned', 'day0'] as const;
type Arm = (typeof arms)[number];
type Requests = Record<Arm, Answer>[];

/**
 * Streams of requests, each alone, one request after the other without a pause: what having seen the earlier ones brings. `static` drafts
 * from the request's own text and the static memory and learns nothing; `learned` also from the stream's earlier requests; `day0` learns
 * without a static memory. All arms answer each request back to back.
 *
 * Summary, over the last quarter of a stream's requests: `<stream>.speedup` plain over learned seconds, `<stream>.acceptanceLength`,
 * `<stream>.learnedOverStatic` static over learned seconds; over all: `<stream>.day0Requests` after how many requests learning without a
 * static memory has taken less time than plain decoding and stays so; `mixed.learnedOverStatic` over the whole stream and
 * `mixed.worstWindow`, the same for the worst 8 requests in a row; `mismatches` tokens that differ from plain decoding.
 *
 * @returns The report and a plot of acceptance length against requests.
 */
export async function learn(options: BenchOptions, folder: string, engines: LearnEngines): Promise<Report> {
  const report: Report = { suite: 'learn', summary: { mismatches: 0 }, rows: [] };
  const curves: Line[] = [];
  for (const name of [...narrow, 'mixed']) {
    const requests = await replay(engines, folder, name, options.limit || Infinity);
    const last = requests.slice(-Math.ceil(requests.length / 4));
    addStream(report, name, requests, name === 'mixed' ? requests : last);
    curves.push({ name, values: smooth(requests.map(({ learned }) => tau([learned]))) });
    curves.push({
      name: `${name}, static`,
      dashed: true,
      values: smooth(requests.map((request) => tau([request.static]))),
    });
  }
  report.plot = lines('Tokens a pass (mean of 8 requests)', 'requests', curves);
  show(report);
  return report;
}

async function replay(engines: LearnEngines, folder: string, name: string, limit: number): Promise<Requests> {
  const asked = stream(folder, name, limit);
  const requests: Requests = [];
  const how: Record<Arm, [Engine, RequestOptions]> = {
    plain: [engines.plain, { tenant: name }],
    static: [engines.fast, { tenant: `${name} static`, learn: false }],
    learned: [engines.fast, { tenant: name }],
    day0: [engines.day0, { tenant: name }],
  };
  for (const [i, { messages }] of asked.entries()) {
    progress(`${name}: ${i + 1} of ${asked.length}`);
    const answers: Partial<Record<Arm, Answer>> = {};
    for (const arm of i % 2 ? arms : [...arms].reverse()) {
      const [engine, options] = how[arm];
      answers[arm] = await collect(engine.chatStream(messages, { maxTokens: newTokens, temperature: 0, ...options }));
    }
    requests.push(answers as Record<Arm, Answer>);
  }
  progressDone();
  return requests;
}

function addStream(report: Report, name: string, all: Requests, judged: Requests): void {
  const { summary } = report;
  summary[`${name}.speedup`] = over(judged, 'plain', 'learned');
  summary[`${name}.acceptanceLength`] = tau(judged.map(({ learned }) => learned));
  summary[`${name}.learnedOverStatic`] = over(judged, 'static', 'learned');
  summary[`${name}.day0Requests`] = day0Requests(all);
  if (name === 'mixed') summary['mixed.worstWindow'] = worstWindow(all);
  for (const { plain, ...drafted } of all)
    for (const answer of Object.values(drafted)) summary['mismatches'] += differences(plain.tokens, answer.tokens);
  report.rows.push({
    stream: name,
    requests: all.length,
    plainTokS: rate(judged, 'plain'),
    staticTokS: rate(judged, 'static'),
    learnedTokS: rate(judged, 'learned'),
    speedup: summary[`${name}.speedup`],
    learnedOverStatic: summary[`${name}.learnedOverStatic`],
    staticTau: tau(judged.map((request) => request.static)),
    learnedTau: summary[`${name}.acceptanceLength`],
    day0Tau: tau(judged.map(({ day0 }) => day0)),
    day0Requests: summary[`${name}.day0Requests`],
  });
}

function over(requests: Requests, top: Arm, bottom: Arm): number {
  return sum(requests.map((request) => request[top].seconds)) / sum(requests.map((request) => request[bottom].seconds));
}

function rate(requests: Requests, arm: Arm): number {
  return sum(requests.map((request) => request[arm].counted)) / sum(requests.map((request) => request[arm].seconds));
}

/** Tokens a pass; 1 where there was none. */
function tau(answers: Answer[]): number {
  const rounds = sum(answers.map((answer) => answer.rounds));
  return rounds > 0 ? sum(answers.map((answer) => answer.counted)) / rounds : 1;
}

function day0Requests(requests: Requests): number {
  let ahead = 0;
  let from = 0;
  for (const [i, { plain, day0 }] of requests.entries()) {
    ahead += plain.seconds - day0.seconds;
    if (ahead < 0) from = i + 1;
  }
  return from + 1;
}

function worstWindow(requests: Requests): number {
  const count = Math.max(1, requests.length - window + 1);
  return Math.min(...Array.from({ length: count }, (_, i) => over(requests.slice(i, i + window), 'static', 'learned')));
}

/** The mean of the latest `window` values at each point. */
function smooth(values: number[]): number[] {
  return values.map((_, i) => {
    const latest = values.slice(Math.max(0, i + 1 - window), i + 1);
    return sum(latest) / latest.length;
  });
}

function show(report: Report): void {
  table(
    [
      'stream',
      'requests',
      'plain tok/s',
      'static',
      'learned',
      'speed-up',
      'over static',
      'tau static',
      'tau learned',
      'tau day 0',
      'day 0 pays after',
    ],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  say(`last quarter of each narrow stream, all of mixed; mismatches ${report.summary['mismatches']}`);
}
