import { promiseBuckets } from '../native';

/** What asking once brought: the plan with the head's draft less the plan without it. */
export interface AskOutcome {
  /** Tokens that were promised. */
  promised: number;
  /** Tokens along the text that came, whichever plan was followed. */
  tokens: number;
  /** What it takes to verify, in passes of one row; the head's own time not counted. */
  passes: number;
}

/** Drafts over which averages go. */
const memory = 256;
/** Drafts that the prior of a bucket is worth, and that a bucket's own evidence is worth against its promises. */
const priorWeight = 8;
const evidenceWeight = 64;
/**
 * Passes that were promised to be saved, by what the others promise: 5,400 drafts of the shipped head beside the default model's answers,
 * of Spec-Bench's kind, SQL and tool calls; and the share that was kept.
 */
const priorPromise = [0.13, 0.15, 0.15, 0.13, 0.09, 0.08, 0.06, 0.04, 0.04, 0.02, 0.01, 0.01, 0, 0, 0, 0];
const priorKept = 0.75;
const keptWeight = 2;
/** Where asking does not pay, one draft in so many is still asked for: the rarer the further it is from that, in powers of two. */
const trialEvery = 32;
const rarestDoublings = 5;
/** Rounds over which it is kept what a token costs, and those that the first value is worth. */
const roundMemory = 256;
const firstPasses = 10;
const firstTokens = 16;

/**
 * When the head is worth its time: how many passes asking saves, by what the other drafters promise of their drafts.
 *
 * Of two plans the one that promises more is followed, so that promises of the plan that is followed are too high, and the more so the
 * less is known. What counts is therefore what both plans would have had accepted along the text that came. Promises vary less from draft
 * to draft than what becomes of them: a bucket's mean promise, times the share that all promises together have kept, is what its own
 * evidence is held to.
 */
export class Asking {
  readonly #asked = new Float64Array(promiseBuckets);
  readonly #promised = new Float64Array(promiseBuckets);
  readonly #saved = new Float64Array(promiseBuckets);
  #allPromised = keptWeight;
  #allSaved = keptWeight * priorKept;
  #passes = firstPasses;
  #tokens = firstTokens;

  /** Takes what a round of a sequence cost, in passes of one row, and its tokens. */
  observeRound(passes: number, tokens: number): void {
    this.#passes += passes - (this.#passes - firstPasses) / roundMemory;
    this.#tokens += tokens - (this.#tokens - firstTokens) / roundMemory;
  }

  /** Takes one draft that the head was asked for, `bucket`: index of what the other drafters promised then. */
  observe(bucket: number, { promised, tokens, passes }: AskOutcome): void {
    const perToken = this.#passes / this.#tokens;
    const promise = perToken * promised - passes;
    const saved = perToken * tokens - passes;
    this.#asked[bucket] += 1;
    const rate = 1 / Math.min(this.#asked[bucket], memory);
    this.#promised[bucket] += rate * (promise - this.#promised[bucket]);
    this.#saved[bucket] += rate * (saved - this.#saved[bucket]);
    this.#allPromised += promise - (this.#allPromised - keptWeight) / memory;
    this.#allSaved += saved - (this.#allSaved - keptWeight * priorKept) / memory;
  }

  /** Passes of one row that asking saves on average at such a promise, the head's own time not counted. */
  gainOf(bucket: number): number {
    const asked = Math.min(this.#asked[bucket], memory);
    const promised = (asked * this.#promised[bucket] + priorWeight * priorPromise[bucket]) / (asked + priorWeight);
    const expected = promised * this.#kept();
    return (asked * this.#saved[bucket] + evidenceWeight * expected) / (asked + evidenceWeight);
  }

  /** Times that it was asked at such a promise. */
  askedAt(bucket: number): number {
    return this.#asked[bucket];
  }

  /**
   * At every how many drafts of the others the head is asked, by their promise.
   *
   * @param price What one of its drafts takes, in passes of one row.
   */
  table(price: number): Int32Array {
    const every = new Int32Array(promiseBuckets);
    for (let bucket = 0; bucket < promiseBuckets; ++bucket) every[bucket] = this.#everyAt(bucket, price);
    return every;
  }

  #everyAt(bucket: number, price: number): number {
    const gain = this.gainOf(bucket);
    if (gain > price) return 1;
    const short = gain > 0 ? Math.ceil(2 * Math.log2(price / gain)) : rarestDoublings;
    return trialEvery * 2 ** Math.min(short, rarestDoublings);
  }

  /** The share of what was promised that came. */
  #kept(): number {
    return this.#allPromised > 0 ? Math.min(1, Math.max(0, this.#allSaved / this.#allPromised)) : 0;
  }
}
