import { isotonic } from '../../lib/controller/isotonic';
import { drafterCount } from '../../lib/native';
import { armPrices, type Pass, type PassPrices } from '../common/prices';
import { median } from '../common/stats';
import type { Machine } from '../sim/machine';

/** Seconds of a round that verifies so many rows. */
export type Price = (rows: number) => number;

/** The arms that are compared in modelled time. */
export type PricedArm = 'plain' | 'static' | 'adaptive';

/** What rounds cost in a run: none at the price of an engine that did something else in it. */
export interface Costs {
  /** In each arm, for modelled time. */
  arms: Record<PricedArm, PassPrices>;
  /** Of the engine that drafts, by rows alone, for replays. */
  drafting: Price;
  /** Seconds of one of plain decoding. */
  plainRound: number;
}

/** Rounds of one width before their median counts. */
const enough = 8;
/** Rows of a round at most: a sequence's own and as many as can be drafted. */
const mostRows = 49;

/** The costs of a run, from what each arm's rounds took. */
export function costsOf(requests: readonly Record<PricedArm, { passes: readonly Pass[] }>[]): Costs {
  const of = (arm: PricedArm): Pass[] => requests.flatMap((arms) => arms[arm].passes);
  return {
    arms: armPrices(requests, ['plain', 'static', 'adaptive']),
    drafting: rowPrices([...of('static'), ...of('adaptive')]),
    plainRound: median(of('plain').map(({ seconds }) => seconds)),
  };
}

/** What rounds took, by rows alone: medians, never falling, straight between widths that were seen. */
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
