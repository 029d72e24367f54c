/** Equal bins of chance 0..1. */
const bins = 20;

/** Whether drafted tokens are accepted as often as had been promised when they were drafted. */
export class Calibration {
  readonly #count = new Float64Array(bins);
  readonly #promised = new Float64Array(bins);
  readonly #accepted = new Float64Array(bins);

  /** Takes one drafted token that verification reached: its chance as it was believed then, and what became of it. */
  add(chance: number, accepted: boolean): void {
    const bin = Math.min(bins - 1, Math.floor(chance * bins));
    this.#count[bin] += 1;
    this.#promised[bin] += chance;
    if (accepted) this.#accepted[bin] += 1;
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
