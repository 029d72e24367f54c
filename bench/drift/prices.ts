import { isotonic } from '../../lib/controller/isotonic';
import { drafterCount } from '../../lib/native';
import type { Pass } from '../common/prices';
import { median } from '../common/stats';
import type { Machine } from '../sim/machine';

/** Seconds of a round that verifies so many rows. */
export type Price = (rows: number) => number;

/** Rounds of one width before their median counts. */
const enough = 8;
/** Rows of a round at most: a sequence's own and as many as can be drafted. */
const mostRows = 49;

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

/** A machine on which rounds cost that much, drafting and all: what recorded texts are replayed on. */
export function machineOf(price: Price): Machine {
  const passSeconds = Array.from({ length: mostRows }, (_, i) => price(1 + i));
  const draftSeconds = Array.from({ length: drafterCount }, () => 0);
  return { profile: { passSeconds, context: 0, secondsPerContextToken: 0, draftSeconds }, overheadSeconds: 0 };
}
