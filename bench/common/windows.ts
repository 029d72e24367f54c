import { sum } from './stats';

/** Requests in a row that are looked at together. */
export const window = 8;

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
