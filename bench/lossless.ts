import { Drafter } from '../lib/native';
import type { BenchOptions } from './common/options';
import { progress, progressDone, say, table, type Report } from './common/report';
import { NativeRunner, type Run } from './common/runner';
import { differences, random } from './common/stats';

/** A prompt as the model reads it. */
export interface TokenPrompt {
  id: string;
  tokens: Int32Array;
}

interface Setting {
  weights: string;
  batch: number;
  temperature: number;
}

/** One plain text and the drafted runs that must repeat it. */
interface Case {
  prompt: TokenPrompt;
  seed: bigint;
  drafter: Drafter;
  /** Tokens kept of the plain run, so that sequences leave at different times. */
  maxTokens: number;
}

const newTokens = 128;

/**
 * Drafting is forced in every round, right and wrong drafts, chains and trees, and the tokens are compared with those of an
 * engine that was loaded without speculation. Settings: auto, fp8, nvfp4 × batch 1 and 4 × temperature 0 and 1; the prompts are dealt out over
 * the settings (each prompt meets all drafters). In batches sequences join when another leaves; every other prompt is run with its prefix still
 * in the cache.
 *
 * Summary: `prompts`, `tokens` compared, `drafted`, `accepted`, `rejected` draft tokens, `mismatches` (tokens that differ or are missing).
 */
export async function lossless(
  options: BenchOptions,
  model: string,
  prompts: TokenPrompt[],
  stopTokens: Int32Array,
): Promise<Report> {
  const settings: Setting[] = options.weights.flatMap((weights) =>
    [1, 4].flatMap((batch) => [0, 1].map((temperature) => ({ weights, batch, temperature }))),
  );
  const totals = { prompts: 0, tokens: 0, drafted: 0, accepted: 0, rejected: 0, mismatches: 0 };
  const report: Report = { suite: 'lossless', summary: totals, rows: [] };
  for (const [index, setting] of settings.entries()) {
    const share = prompts.filter((_, i) => i % settings.length === index);
    const row = await compare(setting, share, options, model, stopTokens);
    report.rows.push({ ...setting, ...row });
    for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += row[key];
  }
  table(
    ['weights', 'batch', 'temperature', 'prompts', 'tokens', 'drafted', 'accepted', 'rejected', 'mismatches'],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  say(totals.mismatches === 0 ? 'Every token is the same.' : `${totals.mismatches} tokens differ.`);
  return report;
}

/** Each prompt is drafted for by every one of them. */
const drafters = [Drafter.suffix, Drafter.recall, Drafter.adversarial, Drafter.prediction];

async function compare(
  setting: Setting,
  prompts: TokenPrompt[],
  options: BenchOptions,
  model: string,
  stopTokens: Int32Array,
) {
  const load = { weights: setting.weights, threads: options.threads, maxSequences: setting.batch };
  const plain = await NativeRunner.load(model, { ...load, speculation: false });
  const drafting = await NativeRunner.load(model, { ...load, speculation: true });
  const row = { prompts: prompts.length, tokens: 0, drafted: 0, accepted: 0, rejected: 0, mismatches: 0 };
  const next = random(Math.round(setting.temperature * 10 + setting.batch));
  const cases: Case[] = prompts.flatMap((prompt) => {
    const seed = BigInt(Math.floor(next() * 2 ** 32));
    return drafters.map((drafter) => ({ prompt, seed, drafter, maxTokens: newTokens }));
  });
  const references = new Map<TokenPrompt, Run>();
  const request = ({ prompt, seed, maxTokens }: Case) => ({
    ...{ prompt: prompt.tokens, seed, maxTokens, stopTokens, temperature: setting.temperature },
  });
  await inBatches(
    cases.filter((_, i) => i % drafters.length === 0),
    setting.batch,
    async (item) => {
      references.set(item.prompt, await plain.run(request(item)));
    },
  );
  let done = 0;
  await inBatches(cases, setting.batch, async (item) => {
    progress(
      `${setting.weights}, batch ${setting.batch}, temperature ${setting.temperature}: ${++done} of ${cases.length}`,
    );
    if (done % 2 === 0) drafting.engine.forget({});
    const reference = references.get(item.prompt)!;
    const run = await drafting.run({
      ...request(item),
      prediction: item.drafter === Drafter.prediction ? corrupted(reference.tokens, next) : new Int32Array(0),
      speculation: { enabled: true, maxLookahead: 8, drafters: -1, force: item.drafter },
    });
    row.tokens += reference.tokens.length;
    row.drafted += run.drafted;
    row.accepted += run.accepted;
    row.rejected += run.rejected;
    row.mismatches += differences(reference.tokens, run.tokens);
  });
  progressDone();
  await plain.close();
  await drafting.close();
  return row;
}

/** Keeps `width` items in flight: one joins as another leaves. */
async function inBatches<T>(items: T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.slice();
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** The right answer with one token in seven replaced, dropped or doubled: drafts that are long right and suddenly wrong. */
function corrupted(tokens: number[], next: () => number): Int32Array {
  return Int32Array.from(
    tokens.flatMap((token) => {
      if (next() > 1 / 7) return [token];
      return [[token + 1], [], [token, token]][Math.floor(next() * 3)];
    }),
  );
}
