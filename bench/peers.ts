import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Engine } from '../lib/index';
import { cacheFolder } from '../lib/models/cache';
import type { BenchOptions } from './common/options';
import { hashOf, progress, progressDone, say, table, type Report } from './common/report';
import { NativeRunner } from './common/runner';
import { median, random, randomTokens } from './common/stats';
import { answer, bestOfGroups, groupsInTurn, overall, ratios, speed } from './peers/answers';
import { installBinding, type Binding } from './peers/install';
import { LlamaCpp } from './peers/llama-cpp';
import { narrowRatio, type Setting } from './peers/narrow';
import type { Peer, PeerPrompt, PeerRun } from './peers/peer';
import { Worker } from './peers/worker';

/** What llama.cpp is asked to run against our format: a type of comparable bits. */
const counterpart: Record<string, string> = { nvfp4: 'Q4_0', mxfp4: 'Q4_0', fp8: 'Q8_0', bf16: 'BF16' };
/** llama.cpp's fastest type. Made of a file that has 4 bits already it is a worse model, so ours answers with that file, too. */
const fastestType = 'Q4_0';
/** Seconds after which no further pair is begun: a busy machine gives fewer pairs, not a longer run. */
const pairSeconds = { binding: 80, server: 120, format: 50 };

/** Ours without and with speculation while `work` uses them. */
export type WithModel = (path: string, work: (plain: Engine, fast: Engine) => Promise<void>) => Promise<void>;

/** Settings of each Node binding beside its plain one. */
const bindings: Record<Binding, { script: string; speculative: Record<string, object> }> = {
  'node-llama-cpp': {
    script: 'node-llama-cpp.mjs',
    speculative: { 'input lookup (2, 8)': { predictor: { pattern: 2, prediction: 8 } } },
  },
  'llama.node': { script: 'llama-node.mjs', speculative: {} },
};
/** llama-server's speculations, and whether they learn from one request for the next. */
const serverSpecTypes = { 'ngram-mod': true, 'ngram-simple': false, 'ngram-map-k': false, 'ngram-cache': true };

/** What all comparisons share. */
interface Bench {
  report: Report;
  options: BenchOptions;
  model: string;
  threads: number;
  withModel: WithModel;
  /** Ours without and with speculation. */
  plain: Engine;
  fast: Engine;
  prompts: PeerPrompt[];
  /** Narrow traffic by the name of the stream. */
  streams: Map<string, PeerPrompt[]>;
}

/**
 * The same prompts, model file and threads through other engines, each in pairs: ours, theirs, ours, theirs.
 *
 * Summary, medians of pairs, per peer (`node-llama-cpp`, `llama.node`, `llama.cpp`): `<peer>.plainRatio` our tokens/s of plain decoding on the
 * file as it is over the peer's; `<peer>.bestRatio` our tokens/s with everything on over the setting that is the peer's best for the prompt's group,
 * of `<peer>.pairs` pairs; `<peer>.narrowRatio` the same at the end of narrow streams, of the one where it is least, of peers that can speculate;
 * `llama.cpp.Q4_0.bestRatio`, `.pairs` and `.narrowRatio` with the file requantised to Q4_0 on both sides;
 * `<peer>.<f>.plainRatio`, `<peer>.<f>.prefillRatio` the same per format (the bindings: the first of those asked for alone, which ours has in all
 * other figures, too). Of a peer that can't be had there is a row with the reason and no key.
 */
export async function peers(
  options: BenchOptions,
  model: string,
  prompts: PeerPrompt[],
  streams: Map<string, PeerPrompt[]>,
  withModel: WithModel,
): Promise<Report> {
  const report: Report = { suite: 'peers', summary: {}, rows: [] };
  await withModel(model, async (plain, fast) => {
    const threads = plain.model.threads;
    const bench = { report, options, model, threads, withModel, plain, fast, prompts, streams };
    for (const binding of Object.keys(bindings) as Binding[])
      await unlessUnavailable(report, binding, () => compareBinding(bench, binding));
    await unlessUnavailable(report, 'llama.cpp', () => compareLlamaCpp(bench));
  });
  progressDone();
  table(
    ['engine', 'setting', 'tok/s', 'prefill tok/s', ''],
    report.rows.map((row) => ['engine', 'setting', 'tokS', 'prefillTokS', 'skipped'].map((key) => cell(row[key]))),
  );
  table(['ratio', 'ours over theirs'], Object.entries(report.summary));
  return report;
}

/** A peer that fails, takes too long or can't be installed costs its own figures only. */
async function unlessUnavailable(report: Report, peer: string, work: () => Promise<void>, setting = ''): Promise<void> {
  try {
    await work();
  } catch (error) {
    const skipped = (error as Error).message;
    say(`${peer} ${setting} is skipped: ${skipped}`);
    report.rows.push({ engine: peer, setting, skipped });
  }
}

async function compareBinding(bench: Bench, binding: Binding): Promise<void> {
  const { options, report, model, threads } = bench;
  const folder = await ticking(`${binding}: installing, where it is not yet`, installBinding(binding, cacheFolder()));
  const { script, speculative } = bindings[binding];
  const job = { folder, model, threads, context: 2048 };
  const start = (extra: object) => () => Worker.start(script, { ...job, ...extra });
  const settings = Object.entries(speculative).map(([name, extra]) => [name, start(extra)] as const);
  const starts = { plain: start({}), ...Object.fromEntries(settings) };
  const pairs = await answerInTurns(bench, binding, starts, pairSeconds.binding);
  const plain = ratios(pairs.plain, pairs.theirs.get('plain')!, speed);
  const prefill = ratios(pairs.plain, pairs.theirs.get('plain')!, (run) => run.prefillTokS);
  addPlain(report, binding, options.weights[0], median(plain), median(prefill));
  addBest(report, binding, pairs);
  if (settings.length === 0) return; // it cannot adapt
  const narrow = { plain: start({}), ...Object.fromEntries(settings) };
  const alone = Object.entries(narrow).map(([name, begin]): [string, Setting] => [
    name,
    { start: begin, learns: false },
  ]);
  await compareNarrow(bench, binding, Object.fromEntries(alone));
}

/** Plain decoding in one of our formats; what has none in its name is of the file as it is. */
export function addPlain({ summary }: Report, peer: string, weights: string, plain: number, prefill: number): void {
  if (weights === 'auto') summary[`${peer}.plainRatio`] = plain;
  summary[`${peer}.${weights}.plainRatio`] = plain;
  summary[`${peer}.${weights}.prefillRatio`] = prefill;
}

/** Everything on against the setting that was the peer's best in each prompt's group. */
function addBest({ summary }: Report, peer: string, { prompts, fast, theirs }: Pairs): void {
  const paired = ratios(fast, bestOfGroups(prompts, theirs), speed);
  summary[`${peer}.bestRatio`] = median(paired);
  summary[`${peer}.pairs`] = paired.length;
}

/** Costs its own figure only, where it fails. */
function compareNarrow(
  { report, fast, streams }: Bench,
  peer: string,
  settings: Record<string, Setting>,
): Promise<void> {
  const work = async (): Promise<void> => {
    report.summary[`${peer}.narrowRatio`] = await narrowRatio(fast, streams, peer, settings);
  };
  return unlessUnavailable(report, peer, work, 'narrow streams');
}

/** llama-bench per format; llama-server on the file as it is and on its fastest type. */
async function compareLlamaCpp(bench: Bench): Promise<void> {
  const { options, report, model, threads } = bench;
  if (options.llamaCpp === undefined) throw new Error("its tools' folder was not given with --llama-cpp DIR");
  const llama = new LlamaCpp(options.llamaCpp, threads);
  const hash = hashOf(model).slice(0, 16);
  const fileOf = (type: string | undefined) =>
    type === undefined
      ? Promise.resolve(model)
      : ticking(
          `llama.cpp: requantising to ${type}, where it is not yet`,
          llama.requantize(model, type, join(cacheFolder(), 'peers', `${hash}-${type}.gguf`)),
        );
  for (const weights of options.weights) {
    const type = counterpart[weights];
    const work = async () => compareFormat(bench, llama, weights, type ?? 'the file', await fileOf(type));
    await unlessUnavailable(report, 'llama.cpp', work, type);
  }
  await unlessUnavailable(report, 'llama-server', () => compareServer(bench, llama, model, 'llama.cpp'));
  const requantized = async (): Promise<void> => {
    const file = await fileOf(fastestType);
    await bench.withModel(file, (plain, fast) =>
      compareServer({ ...bench, plain, fast }, llama, file, `llama.cpp.${fastestType}`),
    );
  };
  await unlessUnavailable(report, 'llama-server', requantized, fastestType);
}

/** llama-server with each of its n-gram speculations against ours, both on `file`. */
async function compareServer(bench: Bench, llama: LlamaCpp, file: string, peer: string): Promise<void> {
  const settings: Record<string, Setting> = { plain: { start: () => llama.serve(file, 'none'), learns: false } };
  for (const [type, learns] of Object.entries(serverSpecTypes))
    settings[type] = { start: () => llama.serve(file, type), learns };
  const starts = Object.entries(settings).map(([type, { start }]) => [type, start] as const);
  const pairs = await answerInTurns(bench, peer, Object.fromEntries(starts), pairSeconds.server);
  addBest(bench.report, peer, pairs);
  await compareNarrow(bench, peer, settings);
}

/** llama-bench's test, 128 tokens from an empty context and 512 tokens of prompt, on both sides in turn. */
async function compareFormat(bench: Bench, llama: LlamaCpp, weights: string, type: string, file: string) {
  const { report, options, model, threads } = bench;
  const runner = await NativeRunner.load(model, { weights, threads });
  const next = random(11);
  const ours: Speeds[] = [];
  const theirs: Speeds[] = [];
  try {
    await ownBench(runner, next);
    const deadline = performance.now() + pairSeconds.format * 1000;
    for (let pair = 0; pair < options.repeats && (pair === 0 || performance.now() < deadline); pair++) {
      progress(`llama.cpp, ${type} against our ${weights}: pair ${pair + 1} of ${options.repeats}`);
      ours.push(await ownBench(runner, next));
      theirs.push(await llama.bench(file, 512, 128));
    }
  } finally {
    await runner.close();
  }
  for (const [engine, setting, speeds] of [
    ['foretoken', weights, ours],
    ['llama-bench', type, theirs],
  ] as const)
    report.rows.push({
      ...{ engine, setting, tokS: median(speeds.map(({ decode }) => decode)) },
      ...{ prefillTokS: median(speeds.map(({ prefill }) => prefill)), pairs: speeds.length },
    });
  const ratio = (of: keyof Speeds): number => median(ours.map((our, i) => our[of] / theirs[i][of]));
  addPlain(report, 'llama.cpp', weights, ratio('decode'), ratio('prefill'));
}

interface Speeds {
  decode: number;
  prefill: number;
}

async function ownBench(runner: NativeRunner, next: () => number): Promise<Speeds> {
  const prompt = (tokens: number) => randomTokens(next, runner.info.vocabulary, tokens);
  const prefill = await runner.run({ prompt: prompt(512), maxTokens: 1 });
  const run = await runner.run({ prompt: prompt(1), maxTokens: 129 });
  return { decode: (run.tokens.length - run.firstTokens) / run.seconds, prefill: 512 / prefill.ttft };
}

/** Answers to the same prompts in the same order; a setting that failed on the way has fewer. */
interface Pairs {
  prompts: PeerPrompt[];
  plain: PeerRun[];
  fast: PeerRun[];
  theirs: Map<string, PeerRun[]>;
}

/**
 * Every prompt, one of each group in turn, is answered by ours plain, the peer's `plain`, ours with everything on, then the peer's other
 * settings, until the prompts are through or time is up and each group has been asked. Settings that fail are reported and left out.
 */
async function answerInTurns(
  bench: Bench,
  peer: string,
  starts: Record<string, () => Promise<Peer>>,
  seconds: number,
): Promise<Pairs> {
  const { report } = bench;
  const prompts = groupsInTurn(bench.prompts);
  const groups = new Set(prompts.map(({ group }) => group)).size;
  const running = new Map<string, Peer>();
  const pairs: Pairs = { prompts, plain: [], fast: [], theirs: new Map() };
  try {
    for (const [setting, start] of Object.entries(starts)) {
      const load = async () => void running.set(setting, await ticking(`${peer}, ${setting}: loading`, start()));
      await unlessUnavailable(report, peer, load, setting);
      pairs.theirs.set(setting, []);
    }
    const deadline = performance.now() + seconds * 1000;
    for (const [index, prompt] of prompts.entries()) {
      if (!running.has('plain') || (index >= groups && performance.now() > deadline)) break;
      const show = (setting: string) => progress(`${peer}, ${setting}: prompt ${index + 1} of ${prompts.length}`);
      for (const [setting, loaded] of running) {
        show(setting);
        if (setting === 'plain') pairs.plain.push(await fresh(bench.plain, prompt));
        const ask = async () => void pairs.theirs.get(setting)!.push(await loaded.answer(prompt));
        await unlessUnavailable(report, peer, ask, setting);
        if (pairs.theirs.get(setting)!.length <= index) {
          running.delete(setting);
          await loaded.close();
        }
        if (setting === 'plain') pairs.fast.push(await fresh(bench.fast, prompt));
      }
    }
  } finally {
    for (const loaded of running.values()) await loaded.close();
  }
  if (pairs.theirs.get('plain')!.length === 0) throw new Error('it gave no plain answer');
  addRow(report, 'foretoken', `plain (beside ${peer})`, pairs.plain);
  addRow(report, 'foretoken', `everything on (beside ${peer})`, pairs.fast);
  for (const [setting, runs] of pairs.theirs) if (runs.length > 0) addRow(report, peer, setting, runs);
  return pairs;
}

/** Our answer by an engine that has forgotten what it learned. */
async function fresh(engine: Engine, prompt: PeerPrompt): Promise<PeerRun> {
  await engine.forget();
  return answer(engine, prompt);
}

function addRow(report: Report, engine: string, setting: string, runs: PeerRun[]): void {
  const prefillTokS = median(runs.map((run) => run.prefillTokS));
  report.rows.push({ engine, setting, tokS: overall(runs), prefillTokS, pairs: runs.length });
}

function cell(value: unknown): string | number {
  return typeof value === 'number' ? value : ((value as string | undefined) ?? '');
}

/** Shows how long something has been going on until it is over. */
async function ticking<T>(what: string, work: Promise<T>): Promise<T> {
  const started = performance.now();
  const show = () => progress(`${what} (${Math.round((performance.now() - started) / 1000)} s)`);
  show();
  const timer = setInterval(show, 1000);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}
