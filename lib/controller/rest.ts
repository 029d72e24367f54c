/** All counts are of sequences' rounds: one that eight sequences share counts eight times. So many make a trial. */
const trial = 64;
/** How long a rest is at least: the first one, the longest, and how much longer the next one is. */
const firstRest = 256;
const longestRest = 4096;
const longer = 4;
/**
 * Drafters that take less than this share of plain decoding's time may always be asked: what they say teaches what to expect. Of the default
 * model's on a CPU they take half of that alone, and more from two sequences at a time on.
 */
const negligible = 0.03;
/** What trials may lose of plain decoding's time, and how often it is halved where one after the other finds nothing. */
const affordable = 0.01;
const mostHalvings = 3;
/** Rounds that still ask when a rest has begun count as part of the trial, but make it no more than so many times as dear. */
const mostLate = 16;

/**
 * Whether asking drafters pays at all. Where a pass is so short that their answers take longer than they save, as with tiny models,
 * nobody is asked for a while, and for much longer whenever a trial finds that nothing has changed.
 */
export class Rest {
  #left = 0;
  /** Seconds that the last trial has lost and the rest has not made up for. */
  #owed = 0;
  #mostOwed = 0;
  /** Seconds of one draft, and whether they are next to nothing beside the latest round. */
  #price = 0;
  #isCheap = false;
  #length = firstRest;
  /** Trials in a row that did not pay. */
  #failed = 0;
  #affordable = affordable;
  #rounds = 0;
  #saved = 0;
  #spent = 0;
  #plain = 0;

  /** Whether drafters are left alone now: not while so little is decoded at once that their answers take next to none of its time. */
  get resting(): boolean {
    return this.#inRest && !this.#isCheap;
  }

  /** Whether the last trial did not pay, and its rest is not over. */
  get #inRest(): boolean {
    return this.#left > 0 || this.#owed > 0;
  }

  /**
   * Takes one sequence's part in a round.
   *
   * @param saved Seconds less than plain decoding would have taken for its tokens, but for drafting, at present prices.
   * @param spent Seconds of drafting for it; 0 = nobody was asked.
   * @param plain Seconds of plain decoding for its tokens.
   * @param tokens How many they are.
   */
  observe(saved: number, spent: number, plain: number, tokens: number): void {
    // One interruption by other work is no reason; drafters that take longer than a pass, as tiny models' do, are found out by and by.
    const counted = Math.min(spent, Math.max(plain, 2 * this.#price));
    if (this.#inRest) {
      if (spent > 0) this.#price += (counted - this.#price) / trial;
      this.#isCheap = this.#price <= negligible * (plain / tokens);
      // The engine goes by the table it has: many short rounds still ask before it hears of the rest.
      const lost = spent > negligible * plain ? counted - saved : 0;
      this.#owed = Math.min(this.#mostOwed, this.#owed + lost - this.#affordable * plain);
      this.#left -= 1;
      return;
    }
    if (spent === 0) return; // nor has it heard yet that the rest is over
    this.#saved += saved;
    this.#spent += counted;
    this.#plain += plain;
    this.#rounds += 1;
    if (this.#rounds === trial) this.#judge();
  }

  #judge(): void {
    this.#owed = 0;
    if (this.#spent <= negligible * this.#plain || this.#spent <= this.#saved) {
      this.#length = firstRest;
      this.#failed = 0;
    } else {
      this.#affordable = affordable / 2 ** Math.min(this.#failed++, mostHalvings);
      this.#left = this.#length;
      this.#owed = this.#spent - this.#saved;
      this.#mostOwed = mostLate * this.#owed;
      this.#price = this.#spent / trial;
      this.#isCheap = false;
      this.#length = Math.min(longestRest, longer * this.#length);
    }
    this.#rounds = this.#saved = this.#spent = this.#plain = 0;
  }
}
