import { join } from 'node:path';
import { loadBinding } from '../lib/binding';
import { cacheFolder } from '../lib/models/cache';
import type { NativeModelInfo } from '../lib/native';
import { ceilingLine, type Ceiling } from './common/ceiling';
import type { BenchOptions } from './common/options';
import { progress, progressDone, say, table, type Report } from './common/report';
import { NativeRunner } from './common/runner';
import { median, random, randomTokens } from './common/stats';
import { writeRandomModel } from './random-model';

/** One repeat: the ceilings and what ran between them. */
interface Sample {
  ceiling: Ceiling;
  tokenSeconds: number;
  pass: Float32Array;
  prefillSeconds: number;
}

const contextTokens = 256;
const promptTokens = 512;

/**
 * Plain decoding, passes of 8 and 16 rows, and prefill, each as a share of what the machine can do at that moment.
 *
 * Summary, per format `<f>` and with the prefix `1b.` for the random 1.24 B model: `<f>.tokS` tokens/s of plain decoding around
 * 256 tokens of context, as JavaScript receives them; `<f>.bandwidthShare` bytes a step must read / (seconds × read bandwidth);
 * `<f>.stepOk` 1 where one row takes at most bytes / (0.9 × bandwidth) + 0.35 ms (1b: share >= 0.85); `<f>.rows8`, `<f>.rows16` seconds of
 * such a pass over one row's; `<f>.roof8`, `<f>.roof16` max(bytes / bandwidth, MACs / peak) over its seconds; `<f>.pass8`, `<f>.pass16` 1 where it costs
 * <= 1.25x (2x) or, where arithmetic binds, reaches half of that roof; `<f>.prefillTokS`, `<f>.prefillShare` of the dot-product peak;
 * `ttftRatio` time to first token with speculation on over off.
 */
export async function decode(options: BenchOptions, model: string): Promise<Report> {
  const report: Report = { suite: 'decode', summary: {}, rows: [] };
  const ceilings: Ceiling[] = [];
  for (const weights of options.weights) {
    await measureFormat(report, ceilings, '', model, weights, options);
  }
  report.summary['ttftRatio'] = await ttftRatio(model, options);
  if (!options.small) {
    const big = join(cacheFolder(), 'bench', 'random-1b.q4_1.gguf');
    say('The random 1.24 B model (written once, 775 MB) …');
    writeRandomModel(big);
    for (const weights of options.weights) await measureFormat(report, ceilings, '1b.', big, weights, options);
    report.summary['1b.ttftRatio'] = await ttftRatio(big, options);
  }
  const ceiling = ceilingOf((key) => median(ceilings.map((each) => each[key])));
  report.summary['readGBs'] = ceiling.readGBs;
  report.summary['peak.int8GMACs'] = ceiling.int8GMACs;
  report.summary['peak.bf16GMACs'] = ceiling.bf16GMACs;
  report.summary['meetingNs'] = ceiling.meetingNs;
  show(report, ceiling);
  return report;
}

async function measureFormat(
  report: Report,
  ceilings: Ceiling[],
  prefix: string,
  model: string,
  weights: string,
  options: BenchOptions,
): Promise<void> {
  const runner = await NativeRunner.load(model, { weights, threads: options.threads });
  const samples: Sample[] = [];
  const repeats = prefix === '' ? options.repeats : Math.max(3, Math.ceil(options.repeats / 3));
  for (let repeat = 0; repeat < repeats; repeat++) {
    progress(`${prefix}${weights}: repeat ${repeat + 1} of ${repeats}`);
    samples.push(await takeSample(runner, repeat, prefix === '' ? 64 : 16));
  }
  progressDone();
  summarise(report, prefix, weights, runner.info, samples);
  if (options.profile) await profileOperations(report, prefix + weights, runner);
  ceilings.push(...samples.map((sample) => sample.ceiling));
  await runner.close();
}

async function takeSample(runner: NativeRunner, seed: number, tokens: number): Promise<Sample> {
  const { threads, isa } = runner.info;
  const before = await loadBinding().probe(threads, isa);
  const prompt = randomTokens(random(seed + 1), runner.info.vocabulary, contextTokens - tokens / 2);
  const run = await runner.run({ prompt, maxTokens: tokens + 1 });
  const between = await loadBinding().probe(threads, isa);
  const { passSeconds } = await runner.engine.profile(16, contextTokens, 3);
  const long = randomTokens(random(seed + 1001), runner.info.vocabulary, promptTokens);
  const prefill = await runner.run({ prompt: long, maxTokens: 1 });
  const after = await loadBinding().probe(threads, isa);
  runner.engine.forget({});
  return {
    ceiling: ceilingOf((key) => (before[key] + between[key] + after[key]) / 3),
    tokenSeconds: run.seconds / (run.tokens.length - run.firstTokens),
    pass: passSeconds,
    prefillSeconds: prefill.ttft,
  };
}

function ceilingOf(of: (key: keyof Ceiling) => number): Ceiling {
  const [readGBs, int8GMACs, bf16GMACs, meetingNs] = [of('readGBs'), of('int8GMACs'), of('bf16GMACs'), of('meetingNs')];
  return { readGBs, int8GMACs, bf16GMACs, meetingNs };
}

function summarise(report: Report, prefix: string, weights: string, info: NativeModelInfo, samples: Sample[]): void {
  const over = (value: (sample: Sample) => number) => median(samples.map(value));
  const key = (name: string) => `${prefix}${weights}.${name}`;
  const { summary } = report;
  const bytes = info.weightBytes + kvBytes(info, contextTokens);
  const peakOf = (ceiling: Ceiling) => (usesInt8(weights, info) ? ceiling.int8GMACs : ceiling.bf16GMACs) * 1e9;
  const stream = (sample: Sample) => bytes / (sample.ceiling.readGBs * 1e9);
  const share = over((sample) => stream(sample) / sample.tokenSeconds);
  summary[key('tokS')] = 1 / over((sample) => sample.tokenSeconds);
  summary[key('bandwidthShare')] = share;
  const slack = over((sample) => stream(sample) / 0.9 + 0.35e-3 - sample.tokenSeconds);
  summary[key('stepOk')] = prefix === '' ? Number(slack >= 0) : Number(share >= 0.85);
  for (const [rows, limit] of [
    [8, 1.25],
    [16, 2],
  ] as const) {
    const arithmetic = (sample: Sample) => (rows * macsPerRow(info)) / peakOf(sample.ceiling);
    const cost = over((sample) => sample.pass[rows - 1] / sample.pass[0]);
    const roof = over((sample) => Math.max(stream(sample), arithmetic(sample)) / sample.pass[rows - 1]);
    const arithmeticBinds = over((sample) => arithmetic(sample) / stream(sample)) > 1;
    summary[key(`rows${rows}`)] = cost;
    summary[key(`roof${rows}`)] = roof;
    summary[key(`pass${rows}`)] = Number(cost <= limit || (arithmeticBinds && roof >= 0.5));
  }
  summary[key('prefillTokS')] = promptTokens / over((sample) => sample.prefillSeconds);
  summary[key('prefillShare')] = over(
    (sample) => prefillMacs(info, promptTokens) / peakOf(sample.ceiling) / sample.prefillSeconds,
  );
  report.rows.push({
    format: prefix + weights,
    weights: info.weightsDescription,
    bytes,
    passSeconds: Array.from({ length: 16 }, (_, i) => over((sample) => sample.pass[i])),
    readGBs: over((sample) => sample.ceiling.readGBs),
  });
}

/** Formats whose weights multiply int8 activations; the others run on fp32 or bf16 multiply-adds. */
function usesInt8(weights: string, info: NativeModelInfo): boolean {
  if (weights === 'auto') return /q[48]_/.test(info.weightsDescription);
  return !['f32', 'f16', 'bf16', 'fp8'].includes(weights);
}

function kvBytes(info: NativeModelInfo, context: number): number {
  return info.layers * context * 2 * info.kvHeads * info.headDim * 2;
}

function layerWeights(info: NativeModelInfo): number {
  const attention = info.width * (2 * info.heads + 2 * info.kvHeads) * info.headDim;
  return info.layers * (attention + 3 * info.width * info.ffn);
}

function macsPerRow(info: NativeModelInfo): number {
  return layerWeights(info) + info.vocabulary * info.width;
}

/** Multiply-adds of reading a prompt: all layers for each token, causal attention, the head once. */
function prefillMacs(info: NativeModelInfo, tokens: number): number {
  const attention = (info.layers * info.heads * info.headDim * 2 * tokens * (tokens + 1)) / 2;
  return tokens * layerWeights(info) + attention + info.vocabulary * info.width;
}

async function ttftRatio(model: string, options: BenchOptions): Promise<number> {
  const shared = { threads: options.threads, weights: 'auto' };
  const off = await NativeRunner.load(model, { ...shared, speculation: false });
  const on = await NativeRunner.load(model, { ...shared, speculation: true });
  const ratios: number[] = [];
  for (let repeat = 0; repeat < Math.max(5, options.repeats); repeat++) {
    const prompt = randomTokens(random(repeat + 1), off.info.vocabulary, promptTokens);
    const order = repeat % 2 ? [on, off] : [off, on];
    const seconds = new Map<NativeRunner, number>();
    for (const runner of order) seconds.set(runner, (await runner.run({ prompt, maxTokens: 1 })).ttft);
    ratios.push(seconds.get(on)! / seconds.get(off)!);
    on.engine.forget({});
    off.engine.forget({});
  }
  await on.close();
  await off.close();
  return median(ratios);
}

async function profileOperations(report: Report, format: string, runner: NativeRunner): Promise<void> {
  const repeats = 20;
  for (const rows of [1, 8, 16]) {
    const operations = await runner.engine.profileOperations(rows, contextTokens, repeats);
    for (const operation of operations) {
      operation.seconds /= repeats;
      operation.bytes /= repeats;
    }
    const total = operations.reduce((sum, operation) => sum + operation.seconds, 0);
    say(`\n${format}, ${rows} row${rows > 1 ? 's' : ''}: ${(total * 1e3).toFixed(2)} ms`);
    table(
      ['operation', 'ms', 'share', 'GB/s'],
      operations.map(({ name, seconds, bytes }) => [
        name,
        (seconds * 1e3).toFixed(3),
        `${((100 * seconds) / total).toFixed(0)} %`,
        bytes > 0 ? (bytes / seconds / 1e9).toFixed(1) : '',
      ]),
    );
    report.rows.push({ format, rows, operations });
  }
}

function show(report: Report, ceiling: Ceiling): void {
  const { summary } = report;
  say(`\n${ceilingLine(ceiling)}, TTFT with speculation ${summary['ttftRatio'].toFixed(3)}x`);
  const columns = ['tokS', 'bandwidthShare', 'stepOk', 'rows8', 'roof8', 'pass8', 'rows16', 'roof16', 'pass16'];
  const all = [...columns, 'prefillTokS', 'prefillShare'];
  const formats = report.rows.filter((row) => 'passSeconds' in row).map((row) => row['format'] as string);
  table(
    ['format', ...all],
    formats.map((format) => [format, ...all.map((column) => summary[`${format}.${column}`])]),
  );
}
