/** Equal bins of chance 0..1. */
const bins = 20;
/** Rounds in bins of a quarter of an expected token, all beyond in the last one. */
const roundBins = 24;

/** Whether drafted tokens are accepted as often as had been promised when they were drafted, and rounds take what had been promised. */
export class Calibration {
  readonly #count = new Float64Array(bins);
  readonly #promised = new Float64Array(bins);
  readonly #accepted = new Float64Array(bins);
  readonly #expected = new Float64Array(roundBins);
  readonly #emitted = new Float64Array(roundBins);
  readonly #price = new Float64Array(roundBins);
  readonly #taken = new Float64Array(roundBins);

  /** Takes one drafted token that verification reached: its chance as it was believed then, and what became of it. */
  add(chance: number, accepted: boolean): void {
    const bin = Math.min(bins - 1, Math.floor(chance * bins));
    this.#count[bin] += 1;
    this.#promised[bin] += chance;
    if (accepted) this.#accepted[bin] += 1;
  }

  /** Takes one round: the tokens that were expected of a sequence and those that came, its price and the seconds that it took. */
  addRound(expected: number, emitted: number, price: number, taken: number): void {
    const bin = Math.min(roundBins - 1, Math.floor(4 * expected));
    this.#expected[bin] += expected;
    this.#emitted[bin] += emitted;
    this.#price[bin] += price;
    this.#taken[bin] += taken;
  }

  /**
   * By how much the promised seconds of a token are off those it took, within bins of expected tokens, weighted by the seconds taken; 0
   * before anything was decoded.
   */
  get secondsError(): number {
    let apart = 0;
    let taken = 0;
    for (let bin = 0; bin < roundBins; ++bin) {
      if (this.#taken[bin] === 0) continue;
      apart += Math.abs((this.#price[bin] / this.#expected[bin]) * this.#emitted[bin] - this.#taken[bin]);
      taken += this.#taken[bin];
    }
    return taken > 0 ? apart / taken : 0;
  }

  /** Expected calibration error: |accepted - promised| a token, within bins of chance; 0 before anything was drafted. */
  get error(): number {
    let apart = 0;
    let count = 0;
    for (let bin = 0; bin < bins; ++bin) {
      apart += Math.abs(this.#accepted[bin] - this.#promised[bin]);
      count += this.#count[bin];
    }
    return count > 0 ? apart / count : 0;
  }
}
