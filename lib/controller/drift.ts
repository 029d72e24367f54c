import { drafterCount } from '../native';
import { ChangeCapital } from '../capital';

/** Equal steps of confidence 0..1. */
const buckets = 16;
/** Rounds over which it is kept how often a drafter's first tokens are right, by confidence: hundreds of answers. */
const memory = 4096;
/** Rounds before a drafter's usual is known. */
const known = 256;
/** Rounds of one answer that count, its first ones: one odd answer alone is no drift. */
const roundsPerAnswer = 24;
/** First tokens that may be right less often, a round, before it matters. */
const tolerance = 0.1;
/** Capital that is an alarm: reached by chance once in so many rounds, at most. */
const alarm = 1e6;
/** … and that ends one: a false end costs nothing but another alarm. */
const allClear = 1e3;
/** Rounds after which what came with an alarm is the usual. */
const settled = 4 * known;

/** What has been noticed of one drafter's drafts: numbers, never text. */
export interface DriftFinding {
  /** `drift`: they are right much less often than they used to be; `recovered`: as often as before, or usual by now. */
  kind: 'drift' | 'recovered';
  drafter: number;
  /** How often first tokens like those of late had been right before, and how often they were since it began. */
  expected: number;
  seen: number;
  /** Rounds since it began. */
  rounds: number;
}

/**
 * Whether drafters fail more often than they used to, for one tenant.
 *
 * The first tokens of every draft are compared with how often such tokens, by confidence, were right before (their labels come in every
 * round, whatever was verified), and a bet is made that they are right less often, beyond a tolerance. Its capital (see capital.ts)
 * reaches 1e6 at most once in a million rounds where nothing has changed, whatever the chances are; Page-Hinkley's threshold would need
 * their spread. Simulated, five million rounds of chances that stay, one million of them with answers that differ between 0.3 and 1 times
 * as easy, gave no alarm; where tokens right in 70 % of rounds fall to half of that it comes after 138 rounds on average, at a tenth after 46.
 *
 * An alarm is for people. What policy believes forgets within a hundred tokens anyway: to begin anew from the priors at an alarm won 0.2 % of
 * the seconds where chances fell for good or for a third of the time, and nothing where they fell slowly (`bench sim`'s texts).
 */
export class Drift {
  readonly #drafters = Array.from({ length: drafterCount }, (_, drafter) => new Watch(drafter));
  /** Rounds of the latest answers. */
  readonly #rounds = new Map<number, number>();

  /** Begins a round of an answer; false: it has told enough. */
  begin(sequence: number): boolean {
    const rounds = (this.#rounds.get(sequence) ?? 0) + 1;
    this.#rounds.delete(sequence);
    this.#rounds.set(sequence, rounds);
    if (this.#rounds.size > 64) this.#rounds.delete(this.#rounds.keys().next().value!);
    return rounds <= roundsPerAnswer;
  }

  /** Takes a first token that was drafted in the round, one of several siblings perhaps, and whether it was right. */
  add(drafter: number, confidence: number, right: boolean): void {
    this.#drafters[drafter].add(bucketOf(confidence), right);
  }

  /** Ends a round; what it brought to light. */
  end(): DriftFinding[] {
    return this.#drafters.flatMap((watch) => watch.end() ?? []);
  }
}

function bucketOf(confidence: number): number {
  return Math.min(buckets - 1, Math.max(0, Math.floor(confidence * buckets)));
}

/** One drafter. */
class Watch {
  readonly #tried = new Float64Array(buckets);
  readonly #right = new Float64Array(buckets);
  #rounds = 0;
  #buckets: number[] = [];
  #rightBucket = -1;
  #bet = new ChangeCapital();
  #drifted = false;
  /** Half of what the drift took: who has won that back has recovered. */
  #bar = 0;
  /** Since the present bet has had more than it began with, or since the alarm. */
  #since = { rounds: 0, expected: 0, seen: 0 };

  constructor(readonly drafter: number) {}

  add(bucket: number, right: boolean): void {
    this.#buckets.push(bucket);
    if (right) this.#rightBucket = bucket;
  }

  end(): DriftFinding | undefined {
    if (this.#buckets.length === 0) return undefined;
    const expected = Math.min(1, this.#expected());
    const seen = this.#rightBucket >= 0 ? 1 : 0;
    this.#rounds += 1;
    const finding = this.#rounds > known ? this.#wager(expected, seen) : undefined;
    if (!this.#drifted) this.#remember();
    this.#buckets = [];
    this.#rightBucket = -1;
    return finding;
  }

  #expected(): number {
    let sum = 0;
    for (const bucket of this.#buckets) sum += (this.#right[bucket] + 0.5) / (this.#tried[bucket] + 1);
    return sum;
  }

  #remember(): void {
    for (const bucket of this.#buckets) {
      if (this.#tried[bucket] >= memory) {
        this.#tried[bucket] *= 1 - 1 / memory;
        this.#right[bucket] *= 1 - 1 / memory;
      }
      this.#tried[bucket] += 1;
    }
    if (this.#rightBucket >= 0) this.#right[this.#rightBucket] += 1;
  }

  #wager(expected: number, seen: number): DriftFinding | undefined {
    const worse = expected - seen;
    this.#bet.add(this.#drifted ? this.#bar - worse : (worse - tolerance) / (1 + tolerance));
    if (!this.#drifted && this.#bet.value < 1) this.#since = { rounds: 0, expected: 0, seen: 0 };
    this.#since.rounds += 1;
    this.#since.expected += expected;
    this.#since.seen += seen;
    const usual = this.#drifted && this.#since.rounds >= settled;
    if (this.#bet.value < (this.#drifted ? allClear : alarm) && !usual) return undefined;
    return this.#turn(usual);
  }

  #turn(usual: boolean): DriftFinding {
    this.#drifted = !this.#drifted;
    const { rounds, expected, seen } = this.#since;
    if (usual) {
      this.#tried.fill(0);
      this.#right.fill(0);
      this.#rounds = 0;
    }
    this.#bar = (expected - seen) / rounds / 2;
    this.#bet = new ChangeCapital();
    this.#since = { rounds: 0, expected: 0, seen: 0 };
    const kind = this.#drifted ? 'drift' : 'recovered';
    return { kind, drafter: this.drafter, expected: expected / rounds, seen: seen / rounds, rounds };
  }
}
