import { setTimeout as sleep } from 'node:timers/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';
import type { LoadOptions } from '../../lib';
import type { LogicalClock } from '../../lib/engine/engine';
import { trainHead } from '../../lib/speculators/train-head';
import { writeTinyModel } from '../../lib/models/tiny-model';

/** The tiny random model in a folder of its own, for all tests of a file. */
export interface TinyModel {
  path: string;
  cache: string;
  /** Loads it; engines made here are closed after the file's last test. */
  load: (options?: LoadOptions, clock?: LogicalClock) => Promise<Engine>;
}

export function tinyModel(): TinyModel {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-api-'));
  const path = join(folder, 'tiny.gguf');
  const cache = join(folder, 'cache');
  const engines: Engine[] = [];
  beforeAll(() => writeTinyModel(path));
  afterAll(async () => {
    await Promise.all(engines.map((engine) => engine.close()));
    rmSync(folder, { recursive: true, force: true });
  });
  const load = async (options: LoadOptions = {}, clock?: LogicalClock): Promise<Engine> => {
    const engine = await Engine.load(path, { cacheFolder: cache, threads: 2, ...options }, clock);
    engines.push(engine);
    return engine;
  };
  return { path, cache, load };
}

/** Prompts of several kinds; some repeat themselves, so that drafts are accepted. */
export const prompts = [
  'The quick brown fox jumps over the lazy dog.',
  'one two three one two three one two three one two',
  'SELECT name FROM people WHERE age > 30;',
  '{"a": 1, "b": [1, 2, 3], "c": {"d": "e"}}',
  'Ein Text mit Umlauten: ä ö ü, 漢字 und 🙂.',
  'a a a a a a a a a a a a a a a a',
];

/** What passes and drafts take where that is given, not measured: rows cost little, so that drafts pay. */
export const givenPrices = {
  passSeconds: Array.from({ length: 64 }, (_, i) => 3e-3 * (1 + 0.03 * i)),
  ...{ context: 0, secondsPerContextToken: 0 },
  draftSeconds: [0, 2e-6, 2e-6, 0, 2e-6, 2e-4, 4e-6],
};

/** For tests that count drafts: on a busy machine, measured prices may say that none pays. Every look at the clock is a second later. */
export function steadyClock(): LogicalClock {
  let now = 0;
  return { profile: givenPrices, now: () => (now += 1000) };
}

/** A draft head for the tiny model, trained in a folder before the file's first test. */
export function tinyHead(tiny: TinyModel, folder: string): { path: string } {
  const head = { path: '' };
  beforeAll(async () => {
    const texts = Array.from({ length: 24 }, (_, i) => `${prompts[i % prompts.length]} ${i} `.repeat(3));
    const options = { cacheFolder: tiny.cache, draftTokens: 64, slots: 3, rank: 4, rowsPerStep: 512, threads: 2 };
    head.path = (await trainHead(tiny.path, texts, folder, options)).path!;
  });
  return head;
}

/** Waits for what the learner does where nobody else wants the processor: on a busy machine it takes its time. */
export async function until(isDone: () => boolean): Promise<void> {
  for (let i = 0; !isDone(); ++i) {
    if (i === 5000) throw new Error(`not so within 500 s: ${String(isDone)}`);
    await sleep(100);
  }
}
