import { Drafter } from '../native';
import { isotonic } from './isotonic';

/** Seconds measured at load, without other work: by number of rows, at two lengths of context. */
export interface Profile {
  /** Seconds of a pass: index = rows - 1, `context` tokens attended to by each row. */
  passSeconds: readonly number[];
  context: number;
  /** Seconds added per row and token of context. */
  secondsPerContextToken: number;
  /** Seconds of one draft call by drafter id. */
  draftSeconds: readonly number[];
  /** Seconds of the head for each position that it catches up on, such as those of a prompt; where there is a head. */
  headPositionSeconds?: number;
}

/** One round as the engine timed it. */
export interface RoundTimes {
  rows: number;
  sequences: number;
  /** Tokens of context attended to, summed over rows. */
  contextTokens: number;
  draftSeconds: number;
  passSeconds: number;
  sampleSeconds: number;
  otherSeconds: number;
  /** Of `draftSeconds`, those of the head. */
  headSeconds: number;
  /** Positions whose keys and values the head made in `headSeconds`. */
  headContext: number;
}

/** Tokens of context that a price without a context is for. */
export const middlingContext = 256;
/** Rounds whose median says how much slower or faster than its profile the machine is now. */
const scaleWindow = 64;
/** A measured time counts at most this much against its price (natural log): an outlier cannot move it far. */
const clip = 0.3;
/** Seconds that a mean may grow by from nothing. */
const shortest = 1e-5;
/** Rounds over which it counts how much a width is used. */
const usageMemory = 256;
/** The newest measurement of a width weighs at least this much, so that prices follow the machine. */
const slowestRate = 1 / 48;
/** How much the profile's price of context counts, and over how many rounds the one that was measured since goes. */
const contextWeight = 64 * middlingContext ** 2;
const contextMemory = 1024;
/** Positions of context that a draft of the head has to catch up on where the round before asked as well, at most. */
const fewPositions = 8;
/** Rounds of sequences over which it is kept how many rows of prompts there are for each. */
const promptRounds = 1024;
/** Rounds that a first prompt is spread over at least. */
const fewestRounds = 64;
/** Rounds of a width before its means say what is usual. */
const usualAfter = 8;

/**
 * What a pass costs, by its number of rows: the profile's curve, times one factor for the machine's present speed (the
 * median of recent rounds), times a running correction per width. A curve through points and not a line, because the
 * knees (where another block of rows begins) are what decides; never falling, because more rows cannot cost less.
 */
export class CostModel {
  readonly maxRows: number;
  /** Seconds of a pass whose rows attend to `#context` tokens each, by rows. */
  readonly #base: Float64Array;
  readonly #context: number;
  readonly #perContextToken: ContextPrice;
  readonly #correction: Float64Array;
  readonly #seen: Float64Array;
  readonly #usage: Float64Array;
  /** The widest pass so far. */
  #widest = 0;
  /** What a table is made from. */
  readonly #values: Float64Array;
  readonly #weights: Float64Array;
  readonly #recent = new Float64Array(scaleWindow);
  #recentCount = 0;
  #scale = 0;
  #overhead = 0;
  #overheadSeen = 0;
  readonly #draft: Float64Array;
  readonly #head: HeadPrice;

  /**
   * @param maxRows Rows to have prices for; beyond the profile the curve goes on with the slope of its second half.
   */
  constructor(profile: Profile, maxRows: number) {
    this.maxRows = maxRows;
    this.#perContextToken = new ContextPrice(profile.secondsPerContextToken, maxRows);
    this.#context = profile.context;
    this.#base = baseCurve(profile, maxRows);
    this.#correction = new Float64Array(maxRows);
    this.#seen = new Float64Array(maxRows);
    this.#usage = new Float64Array(maxRows);
    this.#values = new Float64Array(maxRows);
    this.#weights = new Float64Array(maxRows);
    this.#draft = Float64Array.from(profile.draftSeconds);
    this.#head = new HeadPrice(this.#draft[Drafter.head], profile.headPositionSeconds ?? 0);
  }

  /** How much slower than its profile the machine runs now: 1 = as fast. */
  get slowdown(): number {
    return Math.exp(this.#scale);
  }

  /** Seconds of a round outside draft and pass. */
  get overheadSeconds(): number {
    return this.#overhead;
  }

  /** Seconds added per row and token of context, at the machine's present speed. */
  get secondsPerContextToken(): number {
    return this.#perContextToken.value * this.slowdown;
  }

  /** Seconds of one draft call by drafter id; of the head's, which is a pass of its own, at the machine's present speed. */
  get draftSeconds(): Float64Array {
    this.#draft[Drafter.head] = this.#head.price * this.slowdown;
    return this.#draft;
  }

  /** Takes a round without prefill. Seconds that are not positive and finite are ignored. */
  observe(round: RoundTimes, drafter: Drafter = Drafter.none): void {
    const { rows, contextTokens } = round;
    const seconds = round.passSeconds + round.sampleSeconds;
    if (rows < 1 || rows > this.maxRows || !(seconds > 0) || !Number.isFinite(seconds)) return;
    const index = rows - 1;
    const expected = this.#priceOf(index, this.#base[index], this.#perContextToken.value, contextTokens);
    const ratio = Math.log(seconds / expected);
    this.#observeScale(ratio - this.#correction[index]);
    const surprise = ratio - this.#scale - this.#correction[index];
    this.#seen[index] += 1;
    const rate = Math.max(1 / (this.#seen[index] + 3), slowestRate);
    this.#correction[index] += rate * Math.min(clip, Math.max(-clip, surprise));
    this.#centre(index);
    this.#perContextToken.observe(index, contextTokens, seconds / this.slowdown);
    this.#observeRest(round, drafter);
  }

  /** Takes the seconds of a round's drafts from the head, for so many sequences. Returns those that count: not those of an interruption. */
  observeHead({ headSeconds, headContext }: RoundTimes, asked: number): number {
    return this.slowdown * this.#head.observe(headSeconds / this.slowdown, asked, headContext);
  }

  /** Takes the rows of prompts and the sequences that a round decoded: the head makes keys of prompts, too. */
  observePrompts(promptRows: number, sequences: number): void {
    this.#head.observePrompts(promptRows, sequences);
  }

  /** Seconds of a pass of 1..maxRows rows (index = rows - 1) at an empty context: never falling. */
  table(): Float64Array {
    const { secondsPerContextToken } = this;
    for (let i = 0; i < this.maxRows; ++i) {
      this.#values[i] = this.#passSeconds(i, 0, secondsPerContextToken);
      this.#weights[i] = 1 + Math.min(this.#seen[i], 64);
    }
    return isotonic(this.#values, this.#weights);
  }

  /** Seconds of a round of plain decoding, one sequence at a middling context. */
  get plainRoundSeconds(): number {
    return this.roundSeconds(1, middlingContext);
  }

  /** Seconds of a whole round of so many rows but for drafting; one row a sequence is plain decoding. */
  roundSeconds(rows: number, contextTokens: number): number {
    const index = Math.min(rows, this.maxRows) - 1;
    return this.#passSeconds(index, contextTokens, this.secondsPerContextToken) + this.#overhead;
  }

  #passSeconds(index: number, contextTokens: number, perContextToken: number): number {
    const usual = this.#base[index] * Math.exp(this.#scale + this.#correction[index]);
    return this.#priceOf(index, usual, perContextToken, contextTokens);
  }

  /** A pass at another context than the one that `usual` is for; never less than a quarter of that. */
  #priceOf(index: number, usual: number, perContextToken: number, contextTokens: number): number {
    return Math.max(usual + perContextToken * (contextTokens - (index + 1) * this.#context), usual / 4);
  }

  /**
   * Keeps the mean of the corrections of the widths in use at zero: what they have in common belongs to the machine's factor. The two
   * would else drift apart without end (the factor is a median, corrections are means), and take the widths along that are not in use.
   */
  #centre(index: number): void {
    let total = 0;
    let most = 0;
    let mean = 0;
    this.#widest = Math.max(this.#widest, index + 1);
    for (let i = 0; i < this.#widest; ++i) {
      this.#usage[i] = this.#usage[i] * (1 - 1 / usageMemory) + (i === index ? 1 : 0);
      total += this.#usage[i];
      most = Math.max(most, this.#usage[i]);
      mean += this.#usage[i] * this.#correction[i];
    }
    mean /= total;
    for (let i = 0; i < this.#widest; ++i) this.#correction[i] -= (mean * this.#usage[i]) / most;
  }

  #observeScale(ratio: number): void {
    this.#recent[this.#recentCount % scaleWindow] = ratio;
    this.#recentCount += 1;
    if (this.#recentCount > scaleWindow && this.#recentCount % 8 !== 0) return;
    const sorted = this.#recent.slice(0, Math.min(this.#recentCount, scaleWindow)).sort();
    this.#scale = sorted[sorted.length >> 1];
  }

  #observeRest(round: RoundTimes, drafter: Drafter): void {
    this.#overheadSeen += 1;
    const rate = Math.max(1 / this.#overheadSeen, slowestRate);
    this.#overhead = followed(this.#overhead, round.otherSeconds, rate);
    const perCall = (round.draftSeconds - round.headSeconds) / Math.max(1, round.sequences);
    if (drafter !== Drafter.none && drafter !== Drafter.head)
      this.#draft[drafter] = followed(this.#draft[drafter], perCall, slowestRate);
  }
}

/** A mean that takes so much of a measurement: an outlier cannot move it far. */
function followed(mean: number, measured: number, rate: number): number {
  return mean + rate * (Math.min(measured, 2 * mean + shortest) - mean);
}

/**
 * What a token of context adds to a pass: the slope of seconds over context among passes of the same width, which belong to longer and
 * shorter texts. At load it is measured in a moment, and often wrong by half.
 */
class ContextPrice {
  /** Means of each width, over its latest rounds. */
  readonly #context: Float64Array;
  readonly #seconds: Float64Array;
  readonly #seen: Float64Array;
  #spread = contextWeight;
  #value: number;

  constructor(initial: number, maxRows: number) {
    this.#value = initial;
    this.#context = new Float64Array(maxRows);
    this.#seconds = new Float64Array(maxRows);
    this.#seen = new Float64Array(maxRows);
  }

  /** Seconds per row and token. */
  get value(): number {
    return this.#value;
  }

  observe(index: number, contextTokens: number, seconds: number): void {
    // A pass that the whole process slept through must not make the mean, and with it what counts as usual.
    const counted = this.#seen[index] < usualAfter ? seconds : Math.min(seconds, 2 * this.#seconds[index]);
    const longer = contextTokens - this.#context[index];
    const slower = counted - this.#seconds[index];
    const rate = Math.max(1 / (this.#seen[index] += 1), slowestRate);
    this.#context[index] += rate * longer;
    this.#seconds[index] += rate * slower;
    if (this.#seen[index] <= usualAfter) return;
    const most = clip * this.#seconds[index];
    const surprise = Math.min(most, Math.max(-most, slower - this.#value * longer));
    this.#spread += longer * longer - (this.#spread - contextWeight) / contextMemory;
    this.#value = Math.max(0, this.#value + (surprise * longer) / this.#spread);
  }
}

/**
 * What a draft of the head takes where it is asked in every round: one that follows a draft of the round before, and the keys of a prompt
 * spread over the rounds of its answer. Where it is asked now and then, a draft has to catch up on more; that is priced by the position,
 * or what is asked rarely would look dear for being asked rarely.
 */
class HeadPrice {
  #draft: number;
  #perPosition: number;
  #catchingUp: number;
  #promptRows = 0;
  #rounds = 0;

  constructor(draft: number, perPosition: number) {
    this.#draft = draft;
    this.#perPosition = perPosition;
    this.#catchingUp = perPosition > 0 ? 1 : 0;
  }

  get price(): number {
    return this.#draft + (this.#perPosition * this.#promptRows) / Math.max(fewestRounds, this.#rounds);
  }

  /** Returns the seconds that count. */
  observe(seconds: number, asked: number, positions: number): number {
    if (positions <= fewPositions * asked) {
      const perDraft = Math.min(seconds / asked, 2 * this.#draft || Infinity); // an outlier cannot move it far
      this.#draft += slowestRate * (perDraft - this.#draft);
      return perDraft * asked;
    }
    const more = Math.max(0, seconds - this.#draft * asked) / positions;
    const perPosition = Math.min(more, 2 * this.#perPosition || Infinity);
    this.#perPosition += Math.max(1 / ++this.#catchingUp, slowestRate) * (perPosition - this.#perPosition);
    return seconds - (more - perPosition) * positions;
  }

  observePrompts(promptRows: number, sequences: number): void {
    this.#promptRows += promptRows - (this.#promptRows * sequences) / promptRounds;
    this.#rounds += sequences - (this.#rounds * sequences) / promptRounds;
  }
}

/** The profile's curve, made never falling and continued to `maxRows`. */
function baseCurve({ passSeconds }: Profile, maxRows: number): Float64Array {
  const rising = isotonic(passSeconds, new Float64Array(passSeconds.length).fill(1));
  const last = rising.length - 1;
  const half = last >> 1;
  const slope = last > half ? (rising[last] - rising[half]) / (last - half) : rising[last];
  return Float64Array.from({ length: maxRows }, (_, i) => (i <= last ? rising[i] : rising[last] + slope * (i - last)));
}
