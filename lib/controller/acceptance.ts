import { Drafter, drafterCount, knotStep, policyDepths, policyKnots } from '../native';
import { isotonic } from './isotonic';

/** How a row's token is drawn: a sampled token is harder to guess than the likeliest one. */
export type RowKind = 'greedy' | 'sampled';

/** Drafted tokens that the prior of a confidence is worth, and that a confidence is worth against one depth of it. */
const priorWeight = 8;
const depthWeight = 8;
/** Accepted tokens that the trust in a drafter's prior starts with. */
const trustWeight = 3;
/**
 * Drafted tokens that a cell, and a confidence over all depths, remember: enough to tell 5 % from 15 %, few enough to follow a
 * text that turns. Once a drafter fails at depth 1 nothing deeper is reached any more, so that the confidence must forget too.
 */
const cellMemory = 48;
const knotMemory = 96;
/** Every `fadeEvery` rounds all cells lose a little, so that what is no longer tried drifts back to its prior. */
const fadeEvery = 256;
const fade = 0.9;

const everybody = new Uint8Array(drafterCount).fill(1);
const drafterCells = policyDepths * policyKnots;
const cells = drafterCount * drafterCells;

/** What one kind of row has taught; tables of drafters are made anew only where something was learned. */
interface Counts {
  kind: RowKind;
  /** Whether nothing was ever counted. */
  isEmpty: boolean;
  /** [drafter][depth][knot] */
  tried: Float64Array;
  accepted: Float64Array;
  /** [drafter][knot], all depths */
  knotTried: Float64Array;
  knotAccepted: Float64Array;
  /** As the engine's policy wants it; by drafter: 1 = something was learned since its part was made. */
  table: Float32Array;
  stale: Uint8Array;
}

/**
 * Chance that a drafted token is accepted, given that its prefix was: by drafter, depth and confidence.
 *
 * Counts with a prior, in three layers: how far the drafter as a whole keeps what its prior promises, then all depths of
 * a confidence, then each depth; confidence never lowers the chance (isotonic). A token counts at the two knots that its confidence lies
 * between, for the nearer one more. Tokens that verification never
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
    const place = knotPlace(confidence);
    const below = Math.min(Math.floor(place), policyKnots - 2);
    const counts = this.#counts[kind];
    countToken(counts, drafter, depth, below, 1 + below - place, accepted);
    countToken(counts, drafter, depth, below + 1, place - below, accepted);
    counts.stale[drafter] = 1;
    counts.isEmpty = false;
  }

  /** Counts a round of a sequence of this kind: the table leans to what is decoded now. */
  see(kind: RowKind): void {
    this.#recent.greedy *= 0.99;
    this.#recent.sampled *= 0.99;
    this.#recent[kind] += 1;
    this.#sinceFade += 1;
    if (this.#sinceFade >= fadeEvery) this.#fade();
  }

  /**
   * [drafter][depth][knot], as the engine's policy wants it.
   *
   * @param allowed Who may draft: what is said of the others may be older than what was learned of them. Defaults to everybody.
   */
  table(allowed: Uint8Array = everybody): Float32Array {
    const result = upToDate(this.#counts.greedy, allowed).slice();
    const total = this.#recent.greedy + this.#recent.sampled;
    const sampled = total > 0 ? this.#recent.sampled / total : 0;
    if (sampled === 0) return result;
    const other = upToDate(this.#counts.sampled, allowed);
    for (let i = 0; i < cells; ++i) result[i] += sampled * (other[i] - result[i]);
    return result;
  }

  /** Share of a drafter's tokens that were accepted when reached, and how many were counted (fading). */
  summary(drafter: number): { tried: number; accepted: number } {
    let tried = 0;
    let accepted = 0;
    for (const { knotTried, knotAccepted } of Object.values(this.#counts)) {
      for (let at = drafter * policyKnots; at < (drafter + 1) * policyKnots; ++at) {
        tried += knotTried[at];
        accepted += knotAccepted[at];
      }
    }
    return { tried, accepted };
  }

  #fade(): void {
    this.#sinceFade = 0;
    for (const { isEmpty, stale, tried, accepted, knotTried, knotAccepted } of Object.values(this.#counts)) {
      if (isEmpty) continue;
      stale.fill(1);
      for (const values of [tried, accepted, knotTried, knotAccepted])
        for (let i = 0; i < values.length; ++i) values[i] *= fade;
    }
  }
}

/** Where a token's chance stands in the policy's acceptance table; `depth` counts from 1. */
export function cellOf(drafter: number, depth: number, knot: number): number {
  return (drafter * policyDepths + Math.min(Math.max(depth, 1), policyDepths) - 1) * policyKnots + knot;
}

const middleKnot = (policyKnots - 1) / 2;

/** Where a confidence 0..1 stands among the knots, as native/speculate/plan.h has it. */
export function knotPlace(confidence: number): number {
  if (!(confidence > 0)) return 0;
  if (confidence >= 1) return policyKnots - 1;
  const place = Math.log(confidence / (1 - confidence)) / knotStep + middleKnot;
  return Math.min(policyKnots - 1, Math.max(0, place));
}

/** The confidence of a knot. */
export function knotConfidence(knot: number): number {
  return 1 / (1 + Math.exp((middleKnot - knot) * knotStep));
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

/** [drafter][knot] of each kind. */
const priorChances: Record<RowKind, Float64Array> = { greedy: chancesOf('greedy'), sampled: chancesOf('sampled') };

function chancesOf(kind: RowKind): Float64Array {
  return Float64Array.from({ length: drafterCount * policyKnots }, (_, at) => {
    const [first, second] = priors[kind][Math.floor(at / policyKnots) as Drafter] ?? [0.05, 0];
    return Math.min(0.98, Math.max(0.01, first + second * knotConfidence(at % policyKnots)));
  });
}

/** Work space of a table: one row of knots, of all depths together and of one. */
const chances = new Float64Array(policyKnots);
const value = new Float64Array(policyKnots);
const weight = new Float64Array(policyKnots);

/** The table of one kind of row, after what was learned since it was made. */
function upToDate(counts: Counts, allowed: Uint8Array): Float32Array {
  for (let drafter = 1; drafter < drafterCount; ++drafter) {
    if (counts.stale[drafter] === 0 || allowed[drafter] === 0) continue;
    counts.stale[drafter] = 0;
    makeDrafterTable(counts, drafter);
  }
  return counts.table;
}

function makeDrafterTable(counts: Counts, drafter: number): void {
  const { tried, accepted, table } = counts;
  const from = cellOf(drafter, 1, 0);
  pool(counts, drafter);
  for (let row = from; row < from + drafterCells; row += policyKnots) {
    for (let knot = 0; knot < policyKnots; ++knot) {
      weight[knot] = tried[row + knot] + depthWeight;
      value[knot] = (accepted[row + knot] + depthWeight * chances[knot]) / weight[knot];
    }
    table.set(isotonic(value, weight, value), row);
  }
}

/** Puts into `chances` that of each confidence over all depths, held to the prior as far as the drafter as a whole keeps it. */
function pool(counts: Counts, drafter: number): void {
  const from = drafter * policyKnots;
  const { knotTried, knotAccepted } = counts;
  const prior = priorChances[counts.kind];
  let promised = trustWeight;
  let kept = trustWeight;
  for (let at = from; at < from + policyKnots; ++at) {
    promised += knotTried[at] * prior[at];
    kept += knotAccepted[at];
  }
  const trust = Math.min(1, kept / promised);
  for (let knot = 0; knot < policyKnots; ++knot) {
    const at = from + knot;
    chances[knot] = (knotAccepted[at] + priorWeight * trust * prior[at]) / (knotTried[at] + priorWeight);
  }
}

/** Counts a token at a knot as so much of one. */
function countToken(counts: Counts, drafter: number, depth: number, knot: number, part: number, hit: boolean): void {
  count(counts.tried, counts.accepted, cellOf(drafter, depth, knot), part, hit, cellMemory);
  count(counts.knotTried, counts.knotAccepted, drafter * policyKnots + knot, part, hit, knotMemory);
}

/** Counts a part of an event; where `memory` events are counted already, the older ones fade. */
function count(
  tried: Float64Array,
  accepted: Float64Array,
  at: number,
  part: number,
  hit: boolean,
  memory: number,
): void {
  if (tried[at] >= memory - part) {
    tried[at] *= 1 - part / memory;
    accepted[at] *= 1 - part / memory;
  }
  tried[at] += part;
  if (hit) accepted[at] += part;
}

function emptyCounts(kind: RowKind): Counts {
  return {
    kind,
    isEmpty: true,
    tried: new Float64Array(cells),
    accepted: new Float64Array(cells),
    knotTried: new Float64Array(drafterCount * policyKnots),
    knotAccepted: new Float64Array(drafterCount * policyKnots),
    table: new Float32Array(cells),
    stale: new Uint8Array(drafterCount).fill(1),
  };
}
