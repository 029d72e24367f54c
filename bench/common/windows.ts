import { sum } from './stats';

/** Requests in a row that are looked at together. */
export const window = 8;
/** A window has recovered where its acceptance length is this share of the reference's, … */
const recovered = 0.95;
/** … and so are it and the next two on average. */
const following = 2;
/** A shift counts as recovered where that comes within this share of the phase. */
const inTime = 0.25;

/** Sums over the requests from `at` on. */
function windowSum(values: readonly number[], at: number): number {
  return sum(values.slice(at, at + window));
}

/** Better of the alternatives over ours in the worst window of a stream, in seconds. */
export function worstRatio(ours: readonly number[], ...others: (readonly number[])[]): number {
  const count = Math.max(1, ours.length - window + 1);
  const ratios = Array.from(
    { length: count },
    (_, at) => Math.min(...others.map((other) => windowSum(other, at))) / windowSum(ours, at),
  );
  return Math.min(...ratios);
}

/**
 * Requests from a shift to the first window in which as many tokens a pass come as from a reference that knew the phase's kind of
 * text before; Infinity = never in this phase.
 *
 * @param ratio Tokens a pass over the reference's, window by window, by where it begins in the phase.
 */
export function recovery(ratio: readonly number[]): number {
  const at = ratio.findIndex((value, i) => {
    const next = ratio.slice(i, i + 1 + following);
    return value >= recovered && sum(next) / next.length >= recovered;
  });
  return at < 0 ? Infinity : at;
}

/** Whether a recovery came in time. */
export function isInTime(requests: number, phaseLength: number): boolean {
  return requests <= inTime * phaseLength;
}
