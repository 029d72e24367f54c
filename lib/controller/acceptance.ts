import { Drafter, drafterCount, policyBuckets, policyDepths } from '../native';
import { isotonic } from './isotonic';

/** How a row's token is drawn: a sampled token is harder to guess than the likeliest one. */
export type RowKind = 'greedy' | 'sampled';

/** Drafted tokens that the prior of a whole bucket is worth, and that a bucket is worth against one depth of it. */
const priorWeight = 8;
const depthWeight = 8;
/** Accepted tokens that the trust in a drafter's prior starts with. */
const trustWeight = 3;
/**
 * Drafted tokens that a cell, and a bucket over all depths, remember: enough to tell 5 % from 15 %, few enough to follow a
 * text that turns. Once a drafter fails at depth 1 nothing deeper is reached any more, so that the bucket must forget too.
 */
const cellMemory = 48;
const bucketMemory = 96;
/** Every `fadeEvery` rounds all cells lose a little, so that what is no longer tried drifts back to its prior. */
const fadeEvery = 256;
const fade = 0.9;

const drafterCells = policyDepths * policyBuckets;
const cells = drafterCount * drafterCells;

/** What one kind of row has taught; tables of drafters are made anew only where something was learned. */
interface Counts {
  kind: RowKind;
  /** [drafter][depth][bucket] */
  tried: Float64Array;
  accepted: Float64Array;
  /** [drafter][bucket], all depths */
  bucketTried: Float64Array;
  bucketAccepted: Float64Array;
  /** As the engine's policy wants it; by drafter: 1 = something was learned since its part was made. */
  table: Float32Array;
  stale: Uint8Array;
}

/**
 * Chance that a drafted token is accepted, given that its prefix was: by drafter, depth and confidence.
 *
 * Counts with a prior, in three layers: how far the drafter as a whole keeps what its prior promises, then all depths of
 * a confidence bucket, then each depth; confidence never lowers the chance (isotonic). Tokens that verification never
 * reached say nothing and are not counted.
 */
export class AcceptanceModel {
  readonly #counts: Record<RowKind, Counts> = {
    greedy: emptyCounts('greedy'),
    sampled: emptyCounts('sampled'),
  };
  readonly #recent: Record<RowKind, number> = { greedy: 0, sampled: 0 };
  #sinceFade = 0;

  /** Takes one drafted token that verification reached. */
  observe(kind: RowKind, drafter: number, depth: number, confidence: number, accepted: boolean): void {
    const bucket = bucketOf(confidence);
    const counts = this.#counts[kind];
    count(counts.tried, counts.accepted, cellOf(drafter, depth, bucket), accepted, cellMemory);
    count(counts.bucketTried, counts.bucketAccepted, drafter * policyBuckets + bucket, accepted, bucketMemory);
    counts.stale[drafter] = 1;
  }

  /** Counts a round of a sequence of this kind: the table leans to what is decoded now. */
  see(kind: RowKind): void {
    this.#recent.greedy *= 0.99;
    this.#recent.sampled *= 0.99;
    this.#recent[kind] += 1;
    this.#sinceFade += 1;
    if (this.#sinceFade >= fadeEvery) this.#fade();
  }

  /** [drafter][depth][bucket], as the engine's policy wants it. */
  table(): Float32Array {
    const result = upToDate(this.#counts.greedy).slice();
    const total = this.#recent.greedy + this.#recent.sampled;
    const sampled = total > 0 ? this.#recent.sampled / total : 0;
    if (sampled === 0) return result;
    const other = upToDate(this.#counts.sampled);
    for (let i = 0; i < cells; ++i) result[i] += sampled * (other[i] - result[i]);
    return result;
  }

  /** Share of a drafter's tokens that were accepted when reached, and how many were counted (fading). */
  summary(drafter: number): { tried: number; accepted: number } {
    let tried = 0;
    let accepted = 0;
    for (const { bucketTried, bucketAccepted } of Object.values(this.#counts)) {
      for (let at = drafter * policyBuckets; at < (drafter + 1) * policyBuckets; ++at) {
        tried += bucketTried[at];
        accepted += bucketAccepted[at];
      }
    }
    return { tried, accepted };
  }

  #fade(): void {
    this.#sinceFade = 0;
    for (const { stale, tried, accepted, bucketTried, bucketAccepted } of Object.values(this.#counts)) {
      stale.fill(1);
      for (const values of [tried, accepted, bucketTried, bucketAccepted])
        for (let i = 0; i < values.length; ++i) values[i] *= fade;
    }
  }
}

/** Where a token's chance stands in the policy's acceptance table; `depth` counts from 1. */
export function cellOf(drafter: number, depth: number, bucket: number): number {
  return (drafter * policyDepths + Math.min(Math.max(depth, 1), policyDepths) - 1) * policyBuckets + bucket;
}

/** The bucket of a confidence 0..1. */
export function bucketOf(confidence: number): number {
  return Math.min(policyBuckets - 1, Math.max(0, Math.floor(confidence * policyBuckets)));
}

/**
 * Chance = first + second x confidence, before a drafter has been seen: lines through 175,000 drafted tokens of the default model's
 * answers to prompts like those that its head was trained on, half of them greedy and half at temperature 0.7. Nobody has counted
 * what a caller expects of a text.
 */
const priors: Record<RowKind, Partial<Record<Drafter, readonly [number, number]>>> = {
  greedy: {
    [Drafter.suffix]: [0, 1],
    [Drafter.recall]: [0, 1],
    [Drafter.blend]: [0, 1],
    [Drafter.head]: [0.02, 1.12],
    [Drafter.prediction]: [0.3, 0.6],
  },
  sampled: {
    [Drafter.suffix]: [0, 0.88],
    [Drafter.recall]: [0, 0.91],
    [Drafter.blend]: [0, 0.9],
    [Drafter.head]: [0.02, 1.02],
    [Drafter.prediction]: [0.3, 0.6],
  },
};

/** [drafter][bucket] of each kind. */
const priorChances: Record<RowKind, Float64Array> = { greedy: chancesOf('greedy'), sampled: chancesOf('sampled') };

function chancesOf(kind: RowKind): Float64Array {
  return Float64Array.from({ length: drafterCount * policyBuckets }, (_, at) => {
    const [first, second] = priors[kind][Math.floor(at / policyBuckets) as Drafter] ?? [0.05, 0];
    return Math.min(0.98, Math.max(0.01, first + (second * ((at % policyBuckets) + 0.5)) / policyBuckets));
  });
}

/** Work space of a table: one row of buckets, of all depths together and of one. */
const chances = new Float64Array(policyBuckets);
const value = new Float64Array(policyBuckets);
const weight = new Float64Array(policyBuckets);

/** The table of one kind of row, after what was learned since it was made. */
function upToDate(counts: Counts): Float32Array {
  for (let drafter = 1; drafter < drafterCount; ++drafter) {
    if (counts.stale[drafter] === 0) continue;
    counts.stale[drafter] = 0;
    makeDrafterTable(counts, drafter);
  }
  return counts.table;
}

function makeDrafterTable(counts: Counts, drafter: number): void {
  const { tried, accepted, table } = counts;
  const from = cellOf(drafter, 1, 0);
  pool(counts, drafter);
  for (let row = from; row < from + drafterCells; row += policyBuckets) {
    for (let bucket = 0; bucket < policyBuckets; ++bucket) {
      weight[bucket] = tried[row + bucket] + depthWeight;
      value[bucket] = (accepted[row + bucket] + depthWeight * chances[bucket]) / weight[bucket];
    }
    table.set(isotonic(value, weight, value), row);
  }
}

/** Puts into `chances` that of each confidence bucket over all depths, held to the prior as far as the drafter as a whole keeps it. */
function pool(counts: Counts, drafter: number): void {
  const from = drafter * policyBuckets;
  const { bucketTried, bucketAccepted } = counts;
  const prior = priorChances[counts.kind];
  let promised = trustWeight;
  let kept = trustWeight;
  for (let at = from; at < from + policyBuckets; ++at) {
    promised += bucketTried[at] * prior[at];
    kept += bucketAccepted[at];
  }
  const trust = Math.min(1, kept / promised);
  for (let bucket = 0; bucket < policyBuckets; ++bucket) {
    const at = from + bucket;
    chances[bucket] = (bucketAccepted[at] + priorWeight * trust * prior[at]) / (bucketTried[at] + priorWeight);
  }
}

/** Counts one event; where `memory` events are counted already, the older ones fade. */
function count(tried: Float64Array, accepted: Float64Array, at: number, hit: boolean, memory: number): void {
  if (tried[at] >= memory - 1) {
    tried[at] *= 1 - 1 / memory;
    accepted[at] *= 1 - 1 / memory;
  }
  tried[at] += 1;
  if (hit) accepted[at] += 1;
}

function emptyCounts(kind: RowKind): Counts {
  return {
    kind,
    tried: new Float64Array(cells),
    accepted: new Float64Array(cells),
    bucketTried: new Float64Array(drafterCount * policyBuckets),
    bucketAccepted: new Float64Array(drafterCount * policyBuckets),
    table: new Float32Array(cells),
    stale: new Uint8Array(drafterCount).fill(1),
  };
}
