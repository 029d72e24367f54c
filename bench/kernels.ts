import { loadBinding } from '../lib/binding';
import { ceilingLine } from './common/ceiling';
import type { BenchOptions } from './common/options';
import { progress, progressDone, say, table, type Report } from './common/report';
import { median } from './common/stats';

/** The default model's matrices, and a square one in which only the stream of weights matters. */
const shapes: [name: string, rows: number, cols: number][] = [
  ['qkv', 960, 576],
  ['o', 576, 576],
  ['gate/up', 3072, 576],
  ['down', 576, 1536],
  ['head', 49_152, 576],
  ['4096²', 4096, 4096],
];
const counts = [1, 2, 4, 8, 16, 32, 512];

/**
 * Each kernel alone over shapes and row counts, weights rotated over more than the caches hold, between two readings of the
 * bandwidth; medians over the repeats.
 *
 * Summary, per format `<f>`, shape `<s>` and rows `<m>`: `<f>.<s>.m<m>.us`; for one row `<f>.<s>.m1.bandwidthShare`; for the others
 * `<f>.<s>.m<m>.cost` over one row's, and `<f>.<s>.m<m>.GMACs`.
 */
export async function kernels(options: BenchOptions): Promise<Report> {
  const report: Report = { suite: 'kernels', summary: {}, rows: [] };
  const formats = options.weights.filter((weights) => weights !== 'auto');
  for (const format of formats.length > 0 ? formats : ['q4_1', 'q8_0']) {
    for (const [shape, rows, cols] of shapes) await measure(report, options, format, shape, rows, cols);
  }
  table(
    ['format', 'shape', 'rows', 'µs', 'GB/s', 'of read', 'GMAC/s', 'over one row'],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  return report;
}

async function measure(
  report: Report,
  options: BenchOptions,
  format: string,
  shape: string,
  rows: number,
  cols: number,
): Promise<void> {
  progress(`${format} ${shape}`);
  let one = NaN;
  for (const count of counts) {
    const { threads, repeats } = options;
    const kernel = { format, rows, cols, count, repeats, threads, isa: '' };
    const samples = await loadBinding().benchKernel(kernel);
    const seconds = median(Array.from(samples.seconds));
    if (count === 1) one = seconds;
    const shares = Array.from(samples.seconds, (value, i) => samples.bytes / value / 1e9 / samples.readGBs[i]);
    const figures = {
      us: seconds * 1e6,
      GBs: samples.bytes / seconds / 1e9,
      share: median(shares),
      GMACs: samples.macs / seconds / 1e9,
      cost: seconds / one,
    };
    const key = `${format}.${shape}.m${count}`;
    report.summary[`${key}.us`] = figures.us;
    report.summary[`${key}.GMACs`] = figures.GMACs;
    if (count === 1) report.summary[`${key}.bandwidthShare`] = figures.share;
    else report.summary[`${key}.cost`] = figures.cost;
    report.rows.push({ format, shape, rows: count, ...figures });
  }
  progressDone();
}

/** One line about the machine, for the head of the table. */
export async function machineLine(threads: number): Promise<void> {
  say(ceilingLine(await loadBinding().probe(threads, '')));
}
