import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { performance } from 'node:perf_hooks';

/** What every suite returns: a flat `summary` of numbers that other programs read, and whatever rows explain it. */
export interface Report {
  suite: string;
  summary: Record<string, number>;
  /** Suite-specific detail: per prompt, per shape, per domain. */
  rows: Record<string, unknown>[];
  /** An SVG that shows it. */
  plot?: string;
}

/** Where and on what a report was measured. */
export interface Provenance {
  machine: { cpu: string; cores: number; memoryGB: number; node: string; isa: string };
  threads: number;
  /** Both are empty where there was none. */
  model: string;
  modelHash: string;
  commit: string;
  date: string;
}

export function provenance(details: { threads: number; isa: string; model: string }): Provenance {
  return {
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGB: Math.round(totalmem() / 2 ** 30),
      node: process.version,
      isa: details.isa,
    },
    threads: details.threads,
    model: details.model,
    modelHash: details.model && hashOf(details.model),
    commit: commit(),
    date: new Date().toISOString(),
  };
}

/** SHA-256 of a model file; a folder is known by its path alone. */
export function hashOf(path: string): string {
  if (!statSync(path).isFile()) return '';
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function commit(): string {
  try {
    const head = execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const dirty = execFileSync('git', ['status', '--porcelain'], { encoding: 'utf8' }).trim() ? '-dirty' : '';
    return head.trim() + dirty;
  } catch {
    return 'unknown';
  }
}

/** Makes the folder of a file that a run will write at its end, and fails now where it can't be written. */
export function prepareFile(file: string): void {
  const isNew = !existsSync(file);
  mkdirSync(dirname(file), { recursive: true });
  closeSync(openSync(file, 'a'));
  if (isNew) rmSync(file);
}

/** Writes the report where `--json FILE` says ('-' = standard output, one line), and its plot beside it. */
export function writeJson(file: string, report: Report, where: Provenance): void {
  const body = { suite: report.suite, ...where, summary: report.summary, rows: report.rows };
  if (file === '-') process.stdout.write(JSON.stringify(body) + '\n');
  else writeFileSync(file, JSON.stringify(body, null, 1) + '\n');
  if (file !== '-' && report.plot !== undefined) writeFileSync(file.replace(/(\.json)?$/, '.svg'), report.plot);
}

/** A table for people: columns padded, numbers right-aligned. Goes to standard error so that `--json -` stays clean. */
export function table(header: string[], rows: (string | number)[][]): void {
  const cells = [header, ...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? figure(cell) : cell)))];
  const width = header.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  cells.forEach((row, index) => {
    const line = row.map((cell, column) => (column === 0 ? cell.padEnd(width[0]) : cell.padStart(width[column])));
    say(line.join('  '));
    if (index === 0) say(width.map((count) => '-'.repeat(count)).join('  '));
  });
}

/** A table of rows' fields, under titles: key → title. */
export function tableOf(columns: Record<string, string>, rows: Report['rows']): void {
  table(
    Object.values(columns),
    rows.map((row) => Object.keys(columns).map((key) => (row[key] ?? '') as string | number)),
  );
}

/** Three significant digits, no exponent for everyday sizes. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Number.isInteger(value)) return String(value);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toFixed(Math.min(digits, 4));
}

export function say(line: string): void {
  process.stderr.write(line + '\n');
}

/** Milliseconds between two lines of progress where there is no terminal. */
const quiet = 10_000;
let lastLine = -Infinity;

/** A line that is rewritten on a terminal; elsewhere one is written every ten seconds. */
export function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  else if (performance.now() - lastLine >= quiet) {
    lastLine = performance.now();
    say(line);
  }
}

export function progressDone(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K');
}
