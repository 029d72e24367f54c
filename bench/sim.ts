import { performance } from 'node:perf_hooks';
import { lines, type Line } from '../lib/plot';
import type { NativeReplayText } from '../lib/native';
import { Bar } from './common/bar';
import { fixedPolicy } from './common/fixed-policy';
import { say, table, type Report } from './common/report';
import { random, sum } from './common/stats';
import { worstRatio } from './common/windows';
import { decodeByController, decodeByTable, oracleSeconds, plainSeconds } from './sim/decode';
import { machines, type Machine } from './sim/machine';
import { readRecordings } from './sim/recording';
import { processes, synthesise } from './sim/text';

const answers = 160;
const answerTokens = 128;
/** Drafted tokens of the fixed policies among which the best is found in hindsight. */
const fixedRows = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;

/** Processes of which a curve is drawn. */
const shown = ['calibrated', 'drop', 'return', 'ramp'];

/** How one text was decoded somewhere. */
interface Outcome {
  speedup: number;
  fixedSpeedup: number;
  fixedRows: number;
  oracleSpeedup: number;
  regretRatio: number;
  /** Plain decoding's seconds over the controller's in the worst 8 answers in a row. */
  worstWindow: number;
  /** Tokens a second of the controller, answer by answer, over plain decoding's mean. */
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
 * answers in a row; `roundsPerMinute` of the simulator itself.
 *
 * @param recordings File of recorded answers to decode instead.
 */
export function sim(recordings?: string): Report {
  const answered = recordings === undefined ? syntheses() : readRecordings(recordings);
  const report: Report = { suite: 'sim', summary: {}, rows: [] };
  const curves: Line[] = [];
  const bar = new Bar(Object.keys(machines).length * Object.keys(answered).length);
  let rounds = 0;
  let seconds = 0; // of simulating the controller alone
  for (const [where, machine] of Object.entries(machines)) {
    const prefix = where === 'cpu' ? '' : `${where}.`;
    for (const [name, texts] of Object.entries(answered)) {
      bar.show(`${where}: ${name}`);
      const { curve, rounds: simulated, simulatedSeconds, ...figures } = decodeText(machine, texts);
      rounds += simulated;
      seconds += simulatedSeconds;
      bar.step();
      for (const key of ['speedup', 'fixedSpeedup', 'oracleSpeedup', 'regretRatio', 'worstWindow'] as const)
        report.summary[`${prefix}${name}.${key}`] = figures[key];
      report.rows.push({ machine: where, process: name, ...figures });
      if (where === 'cpu' && (recordings !== undefined || shown.includes(name))) curves.push({ name, values: curve });
    }
  }
  bar.end();
  report.summary['roundsPerMinute'] = (60 * rounds) / seconds;
  report.plot = lines('Speed over plain decoding, cpu', 'answers', curves);
  show(report);
  return report;
}

function syntheses(): Record<string, NativeReplayText[]> {
  return Object.fromEntries(
    Object.entries(processes).map(([name, process]) => [name, synthesise(process, answers, answerTokens, random(11))]),
  );
}

function decodeText(machine: Machine, texts: NativeReplayText[]): Outcome {
  const plainly = texts.map((text) => plainSeconds(machine, [text]));
  const plain = sum(plainly);
  const oracle = oracleSeconds(machine, texts);
  const fixed = fixedRows.map((rows) =>
    rows === 0 ? { seconds: plain } : decodeByTable(machine, texts, fixedPolicy(rows)),
  );
  const best = fixed.reduce((least, each, rows) => (each.seconds < fixed[least].seconds ? rows : least), 0);
  const began = performance.now();
  const controlled = decodeByController(machine, texts, random(5));
  const simulatedSeconds = (performance.now() - began) / 1000;
  const perToken = plain / controlled.tokens;
  return {
    speedup: plain / controlled.seconds,
    fixedSpeedup: plain / fixed[best].seconds,
    fixedRows: best,
    oracleSpeedup: plain / oracle,
    regretRatio: (controlled.seconds - oracle) / (fixed[best].seconds - oracle),
    worstWindow: worstRatio(
      controlled.answers.map(({ seconds }) => seconds),
      plainly,
    ),
    curve: controlled.answers.map(({ seconds, tokens }) => (perToken * tokens) / seconds),
    rounds: controlled.rounds,
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
