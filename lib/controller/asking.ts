import { promiseBuckets } from '../native';

/** Drafts over which an average goes, and after which it is believed. */
const memory = 128;
const believed = 8;
/** Where asking does not pay, one draft in so many is still asked for, to see whether it does by now. */
const trialEvery = 48;
/** Accepted tokens that the trust in what the head promises starts with, and how slowly it follows. */
const trustWeight = 8;
const trustMemory = 256;

/**
 * When the head is worth its time: by what the other drafters promise of their drafts, how many seconds the head's then promised to save,
 * averaged over all times that it was asked, and scaled by how far its drafts keep what they promise.
 */
export class Asking {
  readonly #gain = new Float64Array(promiseBuckets);
  readonly #asked = new Float64Array(promiseBuckets);
  #promised = trustWeight;
  #kept = trustWeight;

  /**
   * Takes one draft that the head was asked for.
   *
   * @param bucket Index of what the other drafters promised.
   * @param gain Seconds that its draft promised to save, its own not counted; 0 where another drafter was preferred.
   */
  observe(bucket: number, gain: number): void {
    this.#asked[bucket] += 1;
    this.#gain[bucket] += (gain - this.#gain[bucket]) / Math.min(this.#asked[bucket], memory);
  }

  /** Takes what became of one of its drafts: tokens that were expected to be accepted, and those that were. */
  observeDraft(expected: number, accepted: number): void {
    this.#promised += expected - (this.#promised - trustWeight) / trustMemory;
    this.#kept += accepted - (this.#kept - trustWeight) / trustMemory;
  }

  /** Seconds that asking saves on average at such a promise, the head's own not counted. */
  gainOf(bucket: number): number {
    return this.#gain[bucket] * Math.min(1, this.#kept / this.#promised);
  }

  /** Times that it was asked at such a promise. */
  askedAt(bucket: number): number {
    return this.#asked[bucket];
  }

  /**
   * At every how many drafts of the others the head is asked, by their promise.
   *
   * @param price Seconds of one of its drafts.
   */
  table(price: number): Int32Array {
    return Int32Array.from({ length: promiseBuckets }, (_, bucket) => {
      return this.#asked[bucket] < believed || this.gainOf(bucket) > price ? 1 : trialEvery;
    });
  }
}
