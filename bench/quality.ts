import type { Tokenizer } from '../lib/models/tokenizer';
import { Bar } from './common/bar';
import type { BenchOptions } from './common/options';
import { corpus, domains, requireData } from './common/data';
import { table, type Report } from './common/report';
import { NativeRunner } from './common/runner';
import { sum } from './common/stats';

const windowTokens = 512;
const windowsPerDomain = 6;

/**
 * Perplexity of each format against the same file in fp32, over the drift corpora (7 domains × 6 windows of 512 tokens).
 *
 * Summary, per format `<f>`: `<f>.pplRatio` perplexity over the fp32 reference's; `<f>.top1` share of positions whose most
 * likely token is the reference's; `tokens`; `f32.ppl`.
 */
export async function quality(options: BenchOptions, model: string, tokenizer: Tokenizer): Promise<Report> {
  const folder = requireData(options.data, 'quality');
  const windows = domains.flatMap((domain) => cutWindows(tokenizer.encode(corpus(folder, domain)), domain));
  const bar = new Bar(windows.length * (1 + options.weights.length));
  const reference = await scoreAll(model, 'f32', windows, options, bar);
  const report: Report = { suite: 'quality', summary: {}, rows: [] };
  const count = sum(windows.map((window) => window.tokens.length - 1));
  report.summary['tokens'] = count;
  report.summary['f32.ppl'] = perplexity(reference, count);
  for (const weights of options.weights) {
    const scores = await scoreAll(model, weights, windows, options, bar);
    const same = sum(scores.map((score, i) => agreement(score.argmax, reference[i].argmax)));
    report.summary[`${weights}.pplRatio`] = perplexity(scores, count) / report.summary['f32.ppl'];
    report.summary[`${weights}.top1`] = same / count;
    report.rows.push({ weights, ppl: perplexity(scores, count), byDomain: byDomain(windows, scores, reference) });
  }
  bar.end();
  table(
    ['format', 'perplexity', 'over fp32', 'same top-1'],
    [
      ['f32', report.summary['f32.ppl'].toFixed(4), '', ''],
      ...options.weights.map((weights) => [
        weights,
        (report.summary[`${weights}.pplRatio`] * report.summary['f32.ppl']).toFixed(4),
        `${((report.summary[`${weights}.pplRatio`] - 1) * 100).toFixed(2)} %`,
        `${(report.summary[`${weights}.top1`] * 100).toFixed(2)} %`,
      ]),
    ],
  );
  return report;
}

interface Window {
  domain: string;
  tokens: Int32Array;
}

interface Score {
  logprob: Float32Array;
  argmax: Int32Array;
}

/** Windows spread evenly over the text, so that they are not all from one file. */
function cutWindows(ids: number[], domain: string): Window[] {
  const stride = Math.floor((ids.length - windowTokens) / windowsPerDomain);
  return Array.from({ length: windowsPerDomain }, (_, i) => ({
    domain,
    tokens: Int32Array.from(ids.slice(i * stride, i * stride + windowTokens)),
  }));
}

async function scoreAll(
  model: string,
  weights: string,
  windows: Window[],
  options: BenchOptions,
  bar: Bar,
): Promise<Score[]> {
  const runner = await NativeRunner.load(model, { weights, threads: options.threads });
  const scores: Score[] = [];
  for (const window of windows) {
    bar.show(`${weights}: ${window.domain}`);
    scores.push(await runner.engine.score(window.tokens));
    bar.step();
  }
  await runner.close();
  return scores;
}

function perplexity(scores: Score[], count: number): number {
  return Math.exp(-sum(scores.map((score) => sum(score.logprob))) / count);
}

function agreement(a: Int32Array, b: Int32Array): number {
  return sum(a.map((token, i) => Number(token === b[i])));
}

function byDomain(windows: Window[], scores: Score[], reference: Score[]): Record<string, number> {
  const ratio = (domain: string) => {
    const inside = windows.flatMap((window, i) => (window.domain === domain ? [i] : []));
    const count = inside.length * (windowTokens - 1);
    const pick = (all: Score[]) =>
      perplexity(
        inside.map((i) => all[i]),
        count,
      );
    return pick(scores) / pick(reference);
  };
  return Object.fromEntries(domains.map((domain) => [domain, ratio(domain)]));
}
