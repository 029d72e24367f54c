/** All counts are of sequences' rounds: one that eight sequences share counts eight times. */

/**
 * Rounds of plain decoding whose time drafters may lose in all before they rest, and how many of those that they have saved count against
 * it. What a draft saves varies much from round to round: with fewer, drafters that take 5 % and save 25 % rest half of the time (for an
 * account that is looked at in every round see Page, Continuous inspection schemes, 1954).
 */
const patience = 4;
const credit = 48;
/** How long a rest is at least: the first one, the longest, and how much longer the next one is. */
const firstRest = 256;
const longestRest = 4096;
const longer = 4;
/**
 * Drafters that take less than this share of plain decoding's time may always be asked: what they say teaches what to expect. Of the default
 * model's on a CPU they take half of that alone, and more from two sequences at a time on.
 */
const negligible = 0.03;
/** Rounds over which means are taken. */
const memory = 64;
/** What trials may lose of plain decoding's time, and how often it is halved where one after the other finds nothing. */
const affordable = 0.01;
const mostHalvings = 3;
/** Rounds that still ask when a rest has begun count as part of the trial, but make it no more than so many times as dear. */
const mostLate = 64;

/**
 * Whether asking drafters pays at all. Where a pass is so short that their answers take longer than they save, as with tiny models,
 * nobody is asked for a while, and for much longer whenever a trial finds that nothing has changed.
 */
export class Rest {
  /** Seconds that drafters have saved more than they took, of late. */
  #balance = 0;
  #left = 0;
  /** Seconds that the last trial has lost and the rest has not made up for. */
  #owed = 0;
  #mostOwed = 0;
  /** Seconds of one draft, and whether they are next to nothing beside the latest round. */
  #price = 0;
  #isCheap = false;
  /** Seconds of plain decoding a token. */
  #usual = 0;
  #asked = 0;
  #rounds = 0;
  #length = firstRest;
  /** Trials in a row that did not pay. */
  #failed = 0;
  #affordable = affordable;

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
   * @returns Seconds of drafting that count: not those of an interruption.
   */
  observe(saved: number, spent: number, plain: number, tokens: number): number {
    // One interruption by other work is no reason; drafters that take longer than a pass, as tiny models' do, are found out by and by.
    const counted = Math.min(spent, Math.max(plain, 2 * this.#price));
    this.#usual += (plain / tokens - this.#usual) / Math.min(memory, (this.#rounds += 1));
    if (spent > 0) this.#price += (counted - this.#price) / Math.min(memory, (this.#asked += 1));
    this.#isCheap = this.#price <= negligible * (plain / tokens);
    if (this.#inRest) this.#recover(saved, counted, plain);
    else if (spent > 0) this.#try(saved - counted); // else it has not heard yet that the rest is over
    return counted;
  }

  /** The engine goes by the table it has: many short rounds still ask before it hears of the rest. */
  #recover(saved: number, spent: number, plain: number): void {
    const lost = spent > negligible * plain ? spent - saved : 0;
    this.#owed = Math.min(this.#mostOwed, this.#owed + lost - this.#affordable * plain);
    this.#left -= 1;
  }

  #try(gained: number): void {
    const most = credit * this.#usual;
    this.#balance = Math.min(most, this.#balance + gained);
    if (this.#isCheap) this.#balance = Math.max(0, this.#balance);
    if (this.#balance === most) {
      this.#length = firstRest;
      this.#failed = 0;
    } else if (this.#balance < -patience * this.#usual) {
      this.#begin();
    }
  }

  #begin(): void {
    this.#affordable = affordable / 2 ** Math.min(this.#failed++, mostHalvings);
    this.#left = this.#length;
    this.#owed = -this.#balance;
    this.#mostOwed = mostLate * this.#owed;
    this.#length = Math.min(longestRest, longer * this.#length);
    this.#balance = 0;
  }
}
