import { median, sum } from './stats';

/** One pass of decoding, batch 1. */
export interface Pass {
  drafter: string;
  /** Rows: the last token and what was drafted after it. */
  rows: number;
  /** Tokens before them. */
  context: number;
  /** Drafted tokens that were accepted. */
  accepted: number;
  seconds: number;
}

/** Passes that a median is taken of at least. */
const enough = 8;
/** Contexts of one price, in tokens. */
const contextStep = 256;

/**
 * What passes cost in a run: the median of those of the same drafter, rows and context. With it two ways of decoding are compared by what
 * they did, whatever else the machine did meanwhile. Where passes are few, those of other drafters count too, then those of other contexts.
 */
export class PassPrices {
  readonly #prices = new Map<string, number>();

  constructor(passes: readonly Pass[]) {
    const seconds = new Map<string, number[]>();
    for (const pass of passes)
      for (const key of keysOf(pass)) {
        const known = seconds.get(key);
        if (known) known.push(pass.seconds);
        else seconds.set(key, [pass.seconds]);
      }
    for (const [key, values] of seconds) if (values.length >= enough) this.#prices.set(key, median(values));
  }

  /** Modelled seconds of passes; one like which there were too few counts as it was measured. */
  seconds(passes: readonly Pass[]): number {
    return sum(passes.map((pass) => this.#price(pass)));
  }

  #price(pass: Pass): number {
    const key = keysOf(pass).find((candidate) => this.#prices.has(candidate));
    return key === undefined ? pass.seconds : this.#prices.get(key)!;
  }
}

/**
 * What passes cost in each arm, by its own alone: one that asks drafters and learns takes longer over a pass of which nothing was drafted
 * than one that doesn't.
 */
export function armPrices<A extends string>(
  requests: readonly Record<A, { passes: readonly Pass[] }>[],
  arms: readonly A[],
): Record<A, PassPrices> {
  const of = (arm: A): PassPrices => new PassPrices(requests.flatMap((request) => request[arm].passes));
  return Object.fromEntries(arms.map((arm) => [arm, of(arm)])) as Record<A, PassPrices>;
}

/** What a pass is to be compared with, the likest first. */
function keysOf({ drafter, rows, context }: Pass): string[] {
  const length = Math.floor(context / contextStep);
  return [`${rows} ${length} ${drafter}`, `${rows} ${length}`, `${rows}`];
}
