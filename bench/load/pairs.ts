import { median } from '../common/stats';

/** What both arms did with the same. */
export interface Pair<T> {
  fast: T;
  plain: T;
}

/**
 * Pairs of both arms, one after the other: each of `turns` in both orders, for whoever comes first may be ahead by more than what is
 * looked for.
 *
 * @param work One arm's part of the n-th pair.
 */
export async function inBothOrders<T>(
  turns: number,
  work: (arm: keyof Pair<T>, pair: number) => Promise<T>,
): Promise<Pair<T>[]> {
  const pairs: Pair<T>[] = [];
  for (let pair = 0; pair < 2 * turns; ++pair) {
    const done: Partial<Pair<T>> = {};
    for (const arm of pair % 2 ? (['plain', 'fast'] as const) : (['fast', 'plain'] as const))
      done[arm] = await work(arm, pair);
    pairs.push(done as Pair<T>);
  }
  return pairs;
}

/** The median of a figure of each pair, and the least and the most of it. */
export function spread<T>(
  pairs: readonly Pair<T>[],
  of: (pair: Pair<T>) => number,
): { median: number; range: [number, number] } {
  const values = pairs.map(of);
  return { median: median(values), range: [Math.min(...values), Math.max(...values)] };
}
