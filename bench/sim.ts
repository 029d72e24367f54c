import { performance } from 'node:perf_hooks';
import { lines, type Line } from '../lib/plot';
import type { NativeReplayText } from '../lib/native';
import { Bar } from './common/bar';
import { fixedPolicy } from './common/fixed-policy';
import { say, table, type Report } from './common/report';
import { mean, random, sum } from './common/stats';
import { worstRatio } from './common/windows';
import { decodeByController, decodeByTable, oracleSeconds, plainSeconds, type Decoded } from './sim/decode';
import { machines, type Machine } from './sim/machine';
import { readRecordings } from './sim/recording';
import { processes, synthesise, type Process } from './sim/text';

const answers = 160;
/** Figures are of so many runs together: another seed alone moves a regret ratio by 0.02. */
const seeds = 6;
const answerTokens = 128;
/** Drafted tokens of the fixed policies among which the best is found in hindsight. */
const fixedRows = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;

/** Processes of which a curve is drawn. */
const shown = ['calibrated', 'drop', 'return', 'ramp'];

/** How a process was decoded somewhere, all seeds together. */
interface Outcome {
  speedup: number;
  fixedSpeedup: number;
  fixedRows: number;
  oracleSpeedup: number;
  regretRatio: number;
  /** Plain decoding's seconds over the controller's in the worst 8 answers in a row; mean over seeds. */
  worstWindow: number;
  /** Tokens a second of the controller, answer by answer, over plain decoding's mean; mean over seeds. */
  curve: number[];
  /** Rounds of the controller, and what it took to simulate them. */
  rounds: number;
  simulatedSeconds: number;
}

/**
 * Made-up texts whose drafts have known chances, or recorded answers, decoded by the controller and by the engine's planner as they are, on
 * machines that are tables of prices; without a model. Plain decoding, the best fixed number of drafted tokens in hindsight and an oracle
 * beside it.
 *
 * Summary, on the CPU that was measured, and with the prefixes `h100.`, `h100.b256.`, `b200.`, `b200.b256.` on those roofs:
 * `<process>.speedup`, `<process>.fixedSpeedup`, `<process>.oracleSpeedup` over plain decoding, `<process>.regretRatio` the controller's
 * seconds beyond the oracle's by those of the best fixed number, `<process>.worstWindow` plain seconds over the controller's in the worst 8
 * answers in a row; `roundsPerMinute` of the simulator itself. Seconds are sums over seeds, of texts and of the noise of passes; recorded texts
 * stay as they are.
 *
 * @param file Of recorded answers to decode instead.
 */
export function sim(file?: string): Report {
  const answered = file === undefined ? syntheses() : recordings(file);
  const report: Report = { suite: 'sim', summary: {}, rows: [] };
  const curves: Line[] = [];
  const bar = new Bar(Object.keys(machines).length * Object.keys(answered).length);
  let rounds = 0;
  let seconds = 0; // of simulating the controller alone
  for (const [where, machine] of Object.entries(machines)) {
    const prefix = where === 'cpu' ? '' : `${where}.`;
    for (const [name, textsBySeed] of Object.entries(answered)) {
      bar.show(`${where}: ${name}`);
      const { curve, rounds: simulated, simulatedSeconds, ...figures } = decodeTexts(machine, textsBySeed);
      rounds += simulated;
      seconds += simulatedSeconds;
      bar.step();
      for (const key of ['speedup', 'fixedSpeedup', 'oracleSpeedup', 'regretRatio', 'worstWindow'] as const)
        report.summary[`${prefix}${name}.${key}`] = figures[key];
      report.rows.push({ machine: where, process: name, ...figures });
      if (where === 'cpu' && (file !== undefined || shown.includes(name))) curves.push({ name, values: curve });
    }
  }
  bar.end();
  report.summary['roundsPerMinute'] = (60 * rounds) / seconds;
  report.plot = lines('Speed over plain decoding, cpu', 'answers', curves);
  show(report);
  return report;
}

/** Texts of each process by seed. */
function syntheses(): Record<string, NativeReplayText[][]> {
  const textsOf = (process: Process): NativeReplayText[][] =>
    seeded((seed) => synthesise(process, answers, answerTokens, random(10 + seed)));
  return Object.fromEntries(Object.entries(processes).map(([name, process]) => [name, textsOf(process)]));
}

/** What was recorded stays the same by seed. */
function recordings(file: string): Record<string, NativeReplayText[][]> {
  return Object.fromEntries(Object.entries(readRecordings(file)).map(([name, texts]) => [name, seeded(() => texts)]));
}

function seeded<T>(make: (seed: number) => T): T[] {
  return Array.from({ length: seeds }, (_, seed) => make(seed));
}

function decodeTexts(machine: Machine, textsBySeed: NativeReplayText[][]): Outcome {
  const plainly = textsBySeed.map((texts) => texts.map((text) => plainSeconds(machine, [text])));
  const plain = sum(plainly.flat());
  const all = textsBySeed.flat();
  const oracle = oracleSeconds(machine, all);
  const fixed = fixedRows.map((rows) => (rows === 0 ? plain : decodeByTable(machine, all, fixedPolicy(rows)).seconds));
  const best = fixed.reduce((least, each, rows) => (each < fixed[least] ? rows : least), 0);
  const began = performance.now();
  const runs = textsBySeed.map((texts, seed) => decodeByController(machine, texts, random(50 + seed)));
  const simulatedSeconds = (performance.now() - began) / 1000;
  const controlled = sum(runs.map(({ seconds }) => seconds));
  const secondsOf = (run: Decoded): number[] => run.answers.map(({ seconds }) => seconds);
  const perToken = plain / sum(runs.map(({ tokens }) => tokens));
  const curveOf = (run: Decoded): number[] => run.answers.map(({ seconds, tokens }) => (perToken * tokens) / seconds);
  const curves = runs.map(curveOf);
  return {
    speedup: plain / controlled,
    fixedSpeedup: plain / fixed[best],
    fixedRows: best,
    oracleSpeedup: plain / oracle,
    regretRatio: (controlled - oracle) / (fixed[best] - oracle),
    worstWindow: mean(runs.map((run, seed) => worstRatio(secondsOf(run), plainly[seed]))),
    curve: curves[0].map((_, answer) => mean(curves.map((curve) => curve[answer]))),
    rounds: sum(runs.map(({ rounds }) => rounds)),
    simulatedSeconds,
  };
}

function show({ rows, summary }: Report): void {
  table(
    ['machine', 'process', 'controller', 'best fixed', 'its rows', 'oracle', 'regret ratio', 'worst 8'],
    rows.map((row) => {
      const { machine, process, speedup, fixedSpeedup, fixedRows: drafted, oracleSpeedup, regretRatio } = row;
      const figures = [speedup, fixedSpeedup, drafted, oracleSpeedup, regretRatio, row.worstWindow];
      return [machine, process, ...figures] as (string | number)[];
    }),
  );
  say(`${(summary['roundsPerMinute'] / 1e6).toFixed(2)} million rounds a minute`);
}
