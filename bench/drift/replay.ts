import { cellOf, bucketOf } from '../../lib/controller/acceptance';
import { isotonic } from '../../lib/controller/isotonic';
import type { Recording } from '../../lib/index';
import type { Pass } from '../common/prices';
import { median, sum } from '../common/stats';

/** Seconds of a round that verifies so many rows. */
export type Price = (rows: number) => number;

/** Rounds of one width before their median counts. */
const enough = 8;

/** What rounds took in a run, by rows alone: medians, never falling, straight between widths that were seen. */
export function rowPrices(passes: readonly Pass[]): Price {
  const byRows = new Map<number, number[]>();
  for (const { rows, seconds } of passes) byRows.set(rows, [...(byRows.get(rows) ?? []), seconds]);
  const seen = [...byRows].filter(([, seconds]) => seconds.length >= enough).sort(([a], [b]) => a - b);
  const widths = seen.map(([rows]) => rows);
  const weights = Float64Array.from(seen, ([, seconds]) => seconds.length);
  const levels = isotonic(
    Float64Array.from(seen, ([, seconds]) => median(seconds)),
    weights,
  );
  return (rows) => {
    const after = widths.findIndex((width) => width >= rows);
    if (after === 0) return levels[0];
    const to = after < 0 ? widths.length - 1 : after;
    const from = Math.max(0, to - 1);
    if (to === from) return levels[to];
    const slope = (levels[to] - levels[from]) / (widths[to] - widths[from]);
    return levels[from] + slope * (rows - widths[from]);
  };
}

/** One draft at a position of a recorded text. */
interface Draft {
  drafter: number;
  /** Per node. */
  parent: Int8Array;
  depth: Uint8Array;
  right: Uint8Array;
  confidence: Float32Array;
}

/** The drafts at every position of a recorded answer: index = tokens of the answer before it. */
export function draftsOf({ tokens, drafts, nodes, confidence }: Recording): Draft[][] {
  const positions: Draft[][] = Array.from({ length: tokens }, () => []);
  let at = 0;
  for (let i = 0; i < drafts.length; i += 3) {
    const [before, drafter, count] = drafts.subarray(i, i + 3);
    const packed = nodes.subarray(at, at + count);
    const parent = Int8Array.from(packed, (node) => (node & 127) - 1);
    const depth = new Uint8Array(count);
    for (let n = 0; n < count; ++n) depth[n] = parent[n] < 0 ? 1 : depth[parent[n]] + 1;
    positions[before]?.push({
      ...{ drafter, parent, depth },
      right: Uint8Array.from(packed, (node) => node >> 7),
      confidence: confidence.subarray(at, at + count),
    });
    at += count;
  }
  return positions;
}

/**
 * The least seconds of an answer: at every position somebody knows the longest draft that is right, and verifies as much of it as pays.
 * No drafter is asked for nothing, nothing wrong is verified: no policy can be faster with these drafts.
 */
export function oracleSeconds(positions: Draft[][], price: Price): number {
  const best = new Float64Array(positions.length + 1);
  for (let at = positions.length - 1; at >= 1; --at) {
    const most = Math.min(positions.length - at - 1, longestRight(positions[at]));
    best[at] = Infinity;
    for (let k = 0; k <= most; ++k) best[at] = Math.min(best[at], price(1 + k) + best[at + k + 1]);
  }
  return best[1];
}

function longestRight(drafts: Draft[]): number {
  return Math.max(0, ...drafts.flatMap(({ depth, right }) => Array.from(depth, (d, n) => (right[n] ? d : 0))));
}

/**
 * Seconds of an answer where every round verifies the same number of drafted tokens: the likeliest of the draft that promises most.
 *
 * @param acceptance A table of chances, as policies have it.
 */
export function fixedSeconds(positions: Draft[][], lookahead: number, acceptance: Float32Array, price: Price): number {
  let seconds = 0;
  for (let at = 1; at < positions.length;) {
    const choices = positions[at].map((draft) => likeliest(draft, lookahead, acceptance));
    const best = choices.reduce((a, b) => (b.promise > a.promise ? b : a), { rows: 0, promise: 0, right: 0 });
    seconds += price(1 + best.rows);
    at += 1 + Math.min(best.right, positions.length - at - 1);
  }
  return seconds;
}

/** What taking the likeliest nodes of a draft promises, and how many of them turn out right. */
function likeliest(
  { drafter, parent, depth, right, confidence }: Draft,
  most: number,
  acceptance: Float32Array,
): { rows: number; promise: number; right: number } {
  const survival = new Float64Array(depth.length);
  for (let n = 0; n < depth.length; ++n) {
    const chance = acceptance[cellOf(drafter, depth[n], bucketOf(confidence[n]))];
    survival[n] = chance * (parent[n] < 0 ? 1 : survival[parent[n]]);
  }
  const order = Array.from(survival.keys()).sort((a, b) => survival[b] - survival[a] || a - b);
  const taken = order.slice(0, most);
  return {
    rows: taken.length,
    promise: sum(taken.map((n) => survival[n])),
    right: Math.max(0, ...taken.map((n) => (right[n] ? depth[n] : 0))),
  };
}
