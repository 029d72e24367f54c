import type { ModelSource } from '../lib/engine/model-source';
import type { ChatMessage } from '../lib/index';
import { Drafter } from '../lib/native';
import { shippedSpeculators } from '../lib/speculators/folders';
import { Bar } from './common/bar';
import { specBench, stream } from './common/data';
import type { BenchOptions } from './common/options';
import { say, table, type Report } from './common/report';
import { forced, NativeRunner } from './common/runner';
import { chatTokens } from './common/source';
import { differences, random, sum } from './common/stats';
import { HeadVersions } from './lossless/head-versions';

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

/** An engine that never drafts and one that must, on the same weights. */
interface Pair {
  plain: NativeRunner;
  drafting: NativeRunner;
  /** Undefined where there is no head. */
  versions: HeadVersions | undefined;
}

/** Prefill is most of what a long prompt costs: of those with more tokens than this a group has at most `longOnes`. */
const longPrompt = 256;
const longOnes = 3;
const newTokens = 128;
const mostSequences = 4;
/** Tokens that sequences go on by where their heads are being swapped. */
const runAhead = 16;
const combinations = [1, mostSequences].flatMap((batch) => [0, 1].map((temperature) => ({ batch, temperature })));
/** They take turns; where a prompt is run again, it is by the one two places later, so that each of them meets hits and misses. */
const drafters = [Drafter.suffix, Drafter.recall, Drafter.adversarial, Drafter.prediction, Drafter.blend, Drafter.head];

/** Of each of Spec-Bench's groups and of five streams the first `limit` prompts (0 = all) that are not long, and a few long ones. */
export async function losslessPrompts(folder: string, source: ModelSource, limit: number): Promise<TokenPrompt[]> {
  const asked = specBench(folder).map(({ id, group, turns }) => ({
    ...{ id, group, messages: [{ role: 'user', content: turns[0] }] as ChatMessage[] },
  }));
  for (const group of ['narrow_sql', 'narrow_rust', 'edit', 'recall', 'narrow_tools'])
    asked.push(...stream(folder, group).map(({ id, messages }) => ({ id, group, messages })));
  const most = { short: limit || Infinity, long: Math.min(longOnes, limit || Infinity) };
  const taken = new Map<string, number>();
  const chosen: TokenPrompt[] = [];
  for (const { id, group, messages } of asked) {
    const tokens = await chatTokens(source, messages);
    const length = tokens.length > longPrompt ? 'long' : 'short';
    const count = taken.get(`${length} ${group}`) ?? 0;
    taken.set(`${length} ${group}`, count + 1);
    if (count < most[length]) chosen.push({ id, tokens });
  }
  return chosen;
}

/**
 * Drafting is forced in every round, right and wrong drafts, chains and trees, and the tokens are compared with those of an
 * engine that was loaded without speculation. Of three weight formats each prompt runs in two, in each in one of batch 1 and 4 × temperature 0 and 1, in another one
 * per format, as a tenant that nobody has seen; every second group of prompts, as many as there are drafters, is run again by other drafters, with prefix in the cache and
 * answer remembered. Where the head drafts it is that of one tenant, which learns from these texts and is swapped for another version in the
 * middle of each of its texts. In batches one sequence joins when another leaves. Plain texts come four at a time, whatever the batch they are
 * compared with, so that a row's independence of its neighbours is at stake too.
 *
 * Summary: `prompts`, `tokens` compared, `drafted`, `accepted`, `rejected` draft tokens, `mismatches` (tokens that differ or are missing).
 */
export async function lossless(
  options: BenchOptions,
  model: string,
  prompts: TokenPrompt[],
  stopTokens: Int32Array,
): Promise<Report> {
  const totals = { prompts: prompts.length, tokens: 0, drafted: 0, accepted: 0, rejected: 0, mismatches: 0 };
  const report: Report = { suite: 'lossless', summary: totals, rows: [] };
  const formats = options.weights;
  const joins = (prompt: number, turn: number): boolean => formats.length < 3 || prompt % formats.length !== turn;
  const bar = new Bar(sum(formats.map((_, turn) => prompts.filter((_, i) => joins(i, turn)).length)));
  for (const [turn, weights] of formats.entries()) {
    const load = { weights, threads: options.threads, maxSequences: mostSequences };
    const plain = await NativeRunner.load(model, { ...load, speculation: false });
    const withHead = { heads: [shippedSpeculators()], learn: true, runAhead };
    const drafting = await NativeRunner.load(model, { ...load, speculation: true, ...withHead });
    const learnsFrom = prompts.map(({ tokens }) => tokens).filter(({ length }) => length <= longPrompt);
    const versions = drafting.engine.stats().headBytes > 0 ? await HeadVersions.start(drafting, learnsFrom) : undefined;
    const engines: Pair = { plain, drafting, versions };
    for (const [index, combination] of combinations.entries()) {
      const share = prompts.filter((_, i) => joins(i, turn) && (i + turn) % combinations.length === index);
      const row = await compare({ weights, ...combination }, share, engines, stopTokens, bar);
      report.rows.push({ weights, ...combination, ...row });
      for (const key of ['tokens', 'drafted', 'accepted', 'rejected', 'mismatches'] as const) totals[key] += row[key];
    }
    await plain.close();
    await drafting.close();
    versions?.end();
  }
  bar.end();
  table(
    ['weights', 'batch', 'temperature', 'prompts', 'tokens', 'drafted', 'accepted', 'rejected', 'mismatches', 'swaps'],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  say(totals.mismatches === 0 ? 'Every token is the same.' : `${totals.mismatches} tokens differ.`);
  return report;
}

async function compare(
  { weights, batch, temperature }: Setting,
  prompts: TokenPrompt[],
  { plain, drafting, versions }: Pair,
  stopTokens: Int32Array,
  bar: Bar,
) {
  const row = { prompts: prompts.length, tokens: 0, drafted: 0, accepted: 0, rejected: 0, mismatches: 0, swaps: 0 };
  const swapsBefore = versions?.swaps ?? 0;
  const next = random(temperature * 10 + batch);
  const cases = prompts.map((prompt, index) => ({
    index,
    request: {
      ...{ prompt: prompt.tokens, tenant: prompt.id, seed: BigInt(Math.floor(next() * 2 ** 32)) },
      ...{ maxTokens: newTokens, stopTokens, temperature },
    },
  }));
  const allowed = drafters.filter((which) => which !== Drafter.head || versions);
  const ofHead = (turn: number): boolean => allowed[turn % allowed.length] === Drafter.head;
  const texts: number[][] = [];
  await inBatches(cases, mostSequences, async ({ index, request }) => {
    texts[index] = (await plain.run(request)).tokens;
  });
  await inBatches(cases, batch, async ({ index, request }) => {
    const again = Math.floor(index / allowed.length) % 2 === 0;
    const turns = again ? [index, index + 2] : [index];
    const learns = versions && turns.some(ofHead);
    const tenant = learns ? versions.tenant : request.tenant;
    for (const turn of turns) {
      bar.show(`${weights}, batch ${batch}, temperature ${temperature}: ${row.mismatches} mismatches so far`);
      const force = allowed[turn % allowed.length];
      const prediction = force === Drafter.prediction ? corrupted(texts[index], next) : new Int32Array(0);
      const speculation = forced(force);
      const run = await drafting.run({
        ...request,
        tenant,
        prediction,
        speculation,
        halfway: ofHead(turn) ? () => versions!.swap() : undefined,
      });
      row.tokens += texts[index].length;
      row.drafted += run.drafted;
      row.accepted += run.accepted;
      row.rejected += run.rejected;
      row.mismatches += differences(texts[index], run.tokens);
    }
    if (!learns) drafting.engine.forget({ tenant });
    bar.step();
  });
  row.swaps = (versions?.swaps ?? 0) - swapsBefore;
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
