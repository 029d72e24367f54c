import type { Drafter } from '../native';

/** One round of decoding, as an entry in the book. */
export interface LedgerEntry {
  drafter: Drafter;
  /** Sequences in the round. */
  sequences: number;
  /** Drafted tokens. */
  drafted: number;
  /** Tokens that came out. */
  emitted: number;
  /** Tokens that the table had expected. */
  expected: number;
  seconds: number;
  /** What plain decoding would have taken for the same tokens, at present prices. */
  plainSeconds: number;
}

/** Sums over rounds that had something in common. */
export interface LedgerSum extends Omit<LedgerEntry, 'drafter' | 'sequences'> {
  rounds: number;
  /** Rounds, each counted for every sequence in it. */
  sequenceRounds: number;
}

/** Drafts of 1, 2, 3-4, 5-8, 9-16 and more tokens. */
const lengthLimits = [1, 2, 4, 8, 16, Infinity];

/** What was chosen, what it brought and what it cost: for people and for tests, not for choosing. */
export class Ledger {
  readonly total = emptySum();
  /** By drafter id. */
  readonly byDrafter = new Map<Drafter, LedgerSum>();
  /** Rounds with drafts, by length: index into {@link draftLengths}. */
  readonly byLength = lengthLimits.map(() => emptySum());

  add(entry: LedgerEntry): void {
    let drafter = this.byDrafter.get(entry.drafter);
    if (!drafter) this.byDrafter.set(entry.drafter, (drafter = emptySum()));
    addTo(this.total, entry);
    addTo(drafter, entry);
    if (entry.drafted > 0) addTo(this.byLength[lengthLimits.findIndex((limit) => entry.drafted <= limit)], entry);
  }

  /** Seconds of plain decoding at measured prices by the seconds taken; 1 before anything was decoded. */
  get speedup(): number {
    return this.total.seconds > 0 ? this.total.plainSeconds / this.total.seconds : 1;
  }

  /** What the speed-up would be if drafts were accepted as often as the tables had said. */
  get expectedSpeedup(): number {
    return this.total.emitted > 0 ? (this.speedup * this.total.expected) / this.total.emitted : 1;
  }
}

/** Names of the lengths in {@link Ledger.byLength}. */
export const draftLengths = ['1', '2', '3-4', '5-8', '9-16', '17+'] as const;

function emptySum(): LedgerSum {
  return { rounds: 0, sequenceRounds: 0, drafted: 0, emitted: 0, expected: 0, seconds: 0, plainSeconds: 0 };
}

function addTo(sum: LedgerSum, entry: LedgerEntry): void {
  sum.rounds += 1;
  sum.sequenceRounds += entry.sequences;
  sum.drafted += entry.drafted;
  sum.emitted += entry.emitted;
  sum.expected += entry.expected;
  sum.seconds += entry.seconds;
  sum.plainSeconds += entry.plainSeconds;
}
