/**
 * Bets on the same numbers at several stakes at once: none of them has to be the right one beforehand. A stake may be near 1, because no
 * number is below -1.
 */
const stakes = [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.9] as const;

/**
 * Evidence that numbers have a mean above 0, which may be looked at after each of them: the capital of one who bets on it.
 *
 * Capital starts at 1 and is multiplied by 1 + stake x for every number x >= -1. As long as each number's expectation, given all before
 * it, is at most 0, capital is not expected to grow, so that the chance of its ever reaching 1 / alpha is at most alpha (Ville's
 * inequality). See Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024),
 * arXiv:2010.09686. Numbers need no bound above, no distribution and no independence.
 */
export class Capital {
  /** By stake. */
  readonly #capital = new Float64Array(stakes.length).fill(1);

  /** Takes a number, at least -1. */
  add(x: number): void {
    for (let i = 0; i < stakes.length; ++i) this.#capital[i] *= 1 + stakes[i] * x;
  }

  /** The mean over stakes. */
  get value(): number {
    return mean(this.#capital);
  }
}

/**
 * Evidence that numbers have had a mean above 0 of late, since whenever that began: capital that is made up to 1 again wherever it is
 * lower (a CUSUM of bets). As long as nothing is wrong, it takes at least `level` numbers on average until it first reaches `level`. See
 * Shin, Ramdas and Rinaldo, "E-detectors", NEJSDS (2023), arXiv:2203.03532.
 */
export class ChangeCapital {
  readonly #capital = new Float64Array(stakes.length).fill(1);

  /** Takes a number, at least -1. */
  add(x: number): void {
    for (let i = 0; i < stakes.length; ++i) {
      const kept = this.#capital[i] < 1 ? 1 : this.#capital[i];
      this.#capital[i] = kept * (1 + stakes[i] * x);
    }
  }

  /** The mean over stakes. */
  get value(): number {
    return mean(this.#capital);
  }
}

function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/** Gains that a bound can name, as shares of what the one way takes. */
const steps = [0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5] as const;

/**
 * A lower bound of the share that one way saves against another, from pairs of what both take for the same work. The chance that it is ever
 * above the true share, at whichever pair it is looked at, is at most alpha, as long as no pair says anything about the next one.
 */
export class GainBound {
  readonly #capitals = steps.map(() => new Capital());
  readonly #passed = steps.map(() => false);
  #before = 0;
  #after = 0;
  #pairs = 0;

  constructor(readonly alpha: number) {}

  /**
   * Takes a pair.
   *
   * @param before What the one way takes.
   * @param after What the other takes.
   * @param most What neither can exceed.
   */
  add(before: number, after: number, most: number): void {
    for (let i = 0; i < steps.length; ++i) {
      this.#capitals[i].add(((1 - steps[i]) * before - after) / most);
      this.#passed[i] ||= this.#capitals[i].value >= 1 / this.alpha;
    }
    this.#before += before;
    this.#after += after;
    this.#pairs += 1;
  }

  /** The bound, rounded down; -Infinity where nothing is known yet. */
  get lower(): number {
    const passed = this.#passed.lastIndexOf(true);
    return passed < 0 ? -Infinity : steps[passed];
  }

  /** The share as it was so far. */
  get mean(): number {
    return this.#before > 0 ? 1 - this.#after / this.#before : 0;
  }

  get pairs(): number {
    return this.#pairs;
  }
}
