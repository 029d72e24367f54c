import { join } from 'node:path';
import type { Engine } from '../lib/index';
import { cacheFolder } from '../lib/models/cache';
import type { BenchOptions } from './common/options';
import { progress, progressDone, table, type Report } from './common/report';
import { NativeRunner } from './common/runner';
import { median, random, randomTokens, sum } from './common/stats';
import { installPeers } from './peers/install';
import { LlamaCpp } from './peers/llama-cpp';
import { runWorker, type PeerPrompt, type PeerRun } from './peers/worker';

/** What llama.cpp is asked to run against our format: a type of comparable bits. */
const counterpart: Record<string, string> = { nvfp4: 'Q4_0', mxfp4: 'Q4_0', fp8: 'Q8_0', bf16: 'BF16' };
const serverSpecTypes = ['none', 'ngram-mod', 'ngram-simple', 'ngram-map-k', 'ngram-cache'];

/**
 * The same prompts, model file and threads through other engines, one after another in each repeat.
 *
 * Summary, per peer (`node-llama-cpp`, `llama.node`, `llama.cpp`): `<peer>.plainRatio` our tokens/s of plain decoding on the file as it is over
 * the peer's; `<peer>.bestRatio` our tokens/s with everything on over the peer's best setting (llama-server: the best of its n-gram types per group);
 * `llama.cpp.<f>.plainRatio`, `llama.cpp.<f>.prefillRatio` (512 tokens) per format, against its type of comparable bits.
 */
export async function peers(
  options: BenchOptions,
  model: string,
  plain: Engine,
  fast: Engine,
  prompts: PeerPrompt[],
): Promise<Report> {
  const report: Report = { suite: 'peers', summary: {}, rows: [] };
  const ours = { plain: await answer(plain, prompts), best: await answer(fast, prompts) };
  addRow(report, 'foretoken', 'plain', ours.plain);
  addRow(report, 'foretoken', 'everything on', ours.best);
  const folder = installPeers(cacheFolder());
  const threads = plain.model.threads;
  const job = { folder, model, threads, context: 2048, prompts };
  for (const [peer, settings] of [
    ['node-llama-cpp', { plain: {}, 'input lookup (2, 8)': { predictor: { pattern: 2, prediction: 8 } } }],
    ['llama.node', { plain: {} }],
  ] as const) {
    const script = peer === 'llama.node' ? 'llama-node.cjs' : 'node-llama-cpp.mjs';
    const speeds: number[] = [];
    for (const [setting, extra] of Object.entries(settings)) {
      progress(`${peer}, ${setting}`);
      const runs = await runWorker(script, { ...job, ...extra });
      const beside = await answer(plain, prompts);
      if (setting === 'plain') report.summary[`${peer}.plainRatio`] = speed(beside) / speed(runs);
      addRow(report, peer, setting, runs);
      speeds.push(speed(runs));
    }
    report.summary[`${peer}.bestRatio`] = speed(await answer(fast, prompts)) / Math.max(...speeds);
  }
  if (options.llamaCpp !== undefined) await compareLlamaCpp(report, options, model, fast, prompts, threads);
  progressDone();
  table(
    ['engine', 'setting', 'tok/s'],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  table(
    ['ratio', 'ours over theirs'],
    Object.entries(report.summary).map(([name, value]) => [name, value]),
  );
  return report;
}

async function compareLlamaCpp(
  report: Report,
  options: BenchOptions,
  model: string,
  fast: Engine,
  prompts: PeerPrompt[],
  threads: number,
): Promise<void> {
  const llama = new LlamaCpp(options.llamaCpp!, threads);
  for (const weights of options.weights) {
    const type = counterpart[weights];
    const file =
      type === undefined ? model : llama.requantize(model, type, join(cacheFolder(), 'peers', `${type}.gguf`));
    const ratios = { plain: [] as number[], prefill: [] as number[] };
    for (let repeat = 0; repeat < 3; repeat++) {
      progress(`llama.cpp ${type ?? 'the file'} against ${weights}: ${repeat + 1} of 3`);
      const theirs = llama.bench(file, 512, 128);
      const own = await ownBench(model, weights, threads);
      ratios.plain.push(own.decode / theirs.decode);
      ratios.prefill.push(own.prefill / theirs.prefill);
      report.rows.push({ engine: 'llama.cpp', setting: `${type ?? 'file'} tg128`, tokS: theirs.decode });
      report.rows.push({ engine: 'llama.cpp', setting: `${type ?? 'file'} pp512`, tokS: theirs.prefill });
      report.rows.push({ engine: 'foretoken', setting: `${weights} tg128`, tokS: own.decode });
      report.rows.push({ engine: 'foretoken', setting: `${weights} pp512`, tokS: own.prefill });
    }
    report.summary[`llama.cpp.${weights}.plainRatio`] = median(ratios.plain);
    report.summary[`llama.cpp.${weights}.prefillRatio`] = median(ratios.prefill);
  }
  report.summary['llama.cpp.plainRatio'] = report.summary['llama.cpp.auto.plainRatio']!;
  const file = llama.requantize(model, 'Q4_0', join(cacheFolder(), 'peers', 'Q4_0.gguf'));
  const byType = new Map<string, PeerRun[]>();
  for (const type of serverSpecTypes) {
    progress(`llama-server, ${type}`);
    byType.set(type, await llama.serve(file, type, prompts));
    addRow(report, 'llama-server', type, byType.get(type)!);
  }
  report.summary['llama.cpp.bestRatio'] = speed(await answer(fast, prompts)) / bestPerGroup(byType, prompts);
}

/** Tokens/s when every group of prompts gets the setting that suits it best. */
function bestPerGroup(byType: Map<string, PeerRun[]>, prompts: PeerPrompt[]): number {
  const best: PeerRun[] = [];
  for (const group of new Set(prompts.map((prompt) => prompt.group))) {
    const inside = (runs: PeerRun[]) => runs.filter((_, i) => prompts[i].group === group);
    const candidates = [...byType.values()].map(inside).sort((a, b) => speed(b) - speed(a));
    best.push(...candidates[0]);
  }
  return speed(best);
}

/** llama-bench's own test on our side: 128 tokens from an empty context, 512 tokens of prompt. */
async function ownBench(model: string, weights: string, threads: number): Promise<{ decode: number; prefill: number }> {
  const runner = await NativeRunner.load(model, { weights, threads });
  const next = random(11);
  const prompt = (tokens: number) => randomTokens(next, runner.info.vocabulary, tokens);
  await runner.run({ prompt: prompt(32), maxTokens: 16 });
  const run = await runner.run({ prompt: prompt(1), maxTokens: 129 });
  const prefill = await runner.run({ prompt: prompt(512), maxTokens: 1 });
  await runner.close();
  return { decode: (run.tokens.length - run.firstTokens) / run.seconds, prefill: 512 / prefill.ttft };
}

async function answer(engine: Engine, prompts: PeerPrompt[]): Promise<PeerRun[]> {
  const runs: PeerRun[] = [];
  for (const prompt of prompts) {
    engine.forget();
    const { tokens, timings } = await engine.generate(prompt.tokens, { maxTokens: prompt.maxTokens, temperature: 0 });
    runs.push({ count: tokens.length, seconds: timings.decodeSeconds, ttft: timings.ttft });
  }
  return runs;
}

/** Tokens behind the first, over seconds from the first to the last. */
function speed(runs: PeerRun[]): number {
  return sum(runs.map((run) => run.count - 1)) / sum(runs.map((run) => run.seconds));
}

function addRow(report: Report, engine: string, setting: string, runs: PeerRun[]): void {
  report.rows.push({ engine, setting, tokS: speed(runs) });
}
