import { Drafter, drafterCount, roundFields, stepFields } from '../native';
import type { NativeOutcomes, NativePolicy } from '../native';
import { AcceptanceModel, bucketOf, cellOf } from './acceptance';
import type { RowKind } from './acceptance';
import { Asking } from './asking';
import { Calibration } from './calibration';
import { CostModel } from './cost';
import type { Profile, RoundTimes } from './cost';
import { Ledger } from './ledger';
import { NodeOutcome, unpackNode } from './nodes';
import { Rest } from './rest';

/** Fixed facts that the controller works with. */
export interface ControllerOptions {
  /** Rows that a pass of decoding may hold, all sequences together. Defaults to 64. */
  rowBudget?: number;
  /** Drafters that may draft. Defaults to suffix, recall, prediction and head. */
  drafters?: readonly Drafter[];
  /** Least milliseconds between two looks at what came. Defaults to 10. */
  interval?: number;
  /** Milliseconds now; for tests. Defaults to a monotonic clock. */
  now?: () => number;
}

const standardDrafters: readonly Drafter[] = [Drafter.suffix, Drafter.recall, Drafter.prediction, Drafter.head];

/** A changed price or chance below these is not worth a new table. */
const priceStep = 0.02;
const chanceStep = 0.004;
/** Where tables say nothing new, looks become rarer: up to so many intervals apart. */
const rarest = 4;

/** The outcomes of one crossing, and how the sequence of each step draws its tokens: it may be gone when they are looked at. */
interface Crossing {
  outcomes: NativeOutcomes;
  kinds: (RowKind | undefined)[];
}

/**
 * The policy: keeps what passes cost and how often drafts are accepted, and turns both into the table by which the
 * engine chooses whether, from whom and how far to draft. It sees numbers about rounds, never a token.
 */
export class Controller {
  readonly rowBudget: number;
  readonly #cost: CostModel;
  readonly #acceptance = new AcceptanceModel();
  readonly #ledger = new Ledger();
  readonly #calibration = new Calibration();
  readonly #asking = new Asking();
  readonly #rest = new Rest();
  /** Crossings that came since the last look. */
  #unread: Crossing[] = [];
  readonly #allowed = new Uint8Array(drafterCount);
  /** Who may draft during a rest: what a caller expects costs nothing to look up. */
  readonly #atRest = new Uint8Array(drafterCount);
  readonly #interval: number;
  readonly #now: () => number;
  #sent: NativePolicy | undefined;
  #lookedAt = -Infinity;
  /** Milliseconds from the last look to the next. */
  #wait: number;

  /** @param profile What passes and drafts cost at load. */
  constructor(profile: Profile, options: ControllerOptions = {}) {
    this.rowBudget = options.rowBudget ?? 64;
    this.#cost = new CostModel(profile, this.rowBudget);
    for (const drafter of options.drafters ?? standardDrafters) this.#allowed[drafter] = 1;
    this.#atRest[Drafter.prediction] = this.#allowed[Drafter.prediction];
    this.#interval = this.#wait = options.interval ?? 10;
    this.#now = options.now ?? (() => performance.now());
  }

  /** What passes cost. */
  get cost(): CostModel {
    this.#look();
    return this.#cost;
  }

  /** How often drafts are accepted. */
  get acceptance(): AcceptanceModel {
    this.#look();
    return this.#acceptance;
  }

  /** What was chosen, and what it brought. */
  get ledger(): Ledger {
    this.#look();
    return this.#ledger;
  }

  /** Whether chances were what they had been said to be. */
  get calibration(): Calibration {
    this.#look();
    return this.#calibration;
  }

  /** Whether the head's drafts are worth asking for. */
  get asking(): Asking {
    this.#look();
    return this.#asking;
  }

  /**
   * Takes the outcomes of one crossing, to be looked at with the next table: this thread works while a pass has all processors busy,
   * and code that nothing has run for a pass is slow to begin.
   *
   * @param kindOf How a sequence draws its tokens; undefined for sequences that must not be learned from.
   */
  observe(outcomes: NativeOutcomes, kindOf: (sequence: number) => RowKind | undefined): void {
    const { steps } = outcomes;
    const kinds: Crossing['kinds'] = [];
    for (let step = 0; step < steps.length; step += stepFields) kinds.push(kindOf(steps[step + 1]));
    this.#unread.push({ outcomes, kinds });
  }

  /** A new table if the last look is not too recent and this one says something else; undefined otherwise. */
  nextPolicy(): NativePolicy | undefined {
    const now = this.#now();
    if (now - this.#lookedAt < this.#wait) return undefined;
    this.#lookedAt = now;
    const policy = this.policy();
    const old = this.#sent !== undefined && !differs(this.#sent, policy);
    this.#wait = old ? Math.min(2 * this.#wait, rarest * this.#interval) : this.#interval;
    if (old) return undefined;
    return (this.#sent = policy);
  }

  /** The table as of now. */
  policy(): NativePolicy {
    this.#look();
    const draftSeconds = Float32Array.from(this.#cost.draftSeconds);
    draftSeconds[Drafter.head] = 0; // it is spent before anything is planned: whether to ask is decided before
    return {
      rowBudget: this.rowBudget,
      passSeconds: Float32Array.from(this.#cost.table()),
      secondsPerContextToken: this.#cost.secondsPerContextToken,
      overheadSeconds: this.#cost.overheadSeconds,
      draftSeconds,
      acceptance: this.#acceptance.table(),
      allowed: this.#rest.resting ? this.#atRest : this.#allowed,
      askEvery: this.#asking.table(this.#cost.draftSeconds[Drafter.head]),
    };
  }

  #look(): void {
    const crossings = this.#unread;
    if (crossings.length === 0) return;
    this.#unread = [];
    for (const crossing of crossings) this.#observeCrossing(crossing);
  }

  #observeCrossing(crossing: Crossing): void {
    const { rounds, steps } = crossing.outcomes;
    let step = 0;
    for (let round = 0; round * roundFields < rounds.length; ++round) {
      const first = step;
      while (step < steps.length && steps[step] === round) step += stepFields;
      this.#observeRound(crossing, round, first, step);
    }
  }

  #observeRound({ outcomes, kinds }: Crossing, round: number, from: number, to: number): void {
    const times = readRound(outcomes.rounds, round);
    let drafted = 0;
    let emitted = 0;
    let expected = 0;
    let asked = 0;
    let lead: Drafter = Drafter.none;
    for (let i = from; i < to; i += stepFields) {
      const step = outcomes.steps.subarray(i, i + stepFields);
      const [, , , tokenCount, draftOffset, draftCount, accepted, drafter, promise, gain] = step;
      const verified = this.#expect(outcomes, draftOffset, draftCount);
      if (promise > 0) {
        asked += 1;
        this.#asking.observe(promise - 1, gain * 1e-9);
        if ((drafter as Drafter) === Drafter.head) this.#asking.observeDraft(verified.accepted, accepted);
      }
      emitted += tokenCount;
      drafted += verified.count;
      expected += 1 + verified.accepted;
      if (verified.count > 0) lead = drafter;
      const kind = kinds[i / stepFields];
      if (kind) this.#learn(outcomes, kind, draftOffset, draftCount);
    }
    if (times.prefillRows > 0 || from === to) return;
    const plainSeconds = (this.#plainSeconds(times) * emitted) / times.sequences;
    const price = this.#cost.roundSeconds(times.rows, times.contextTokens);
    // Whether the head pays is decided for itself.
    this.#rest.observe(plainSeconds - price, times.draftSeconds - times.headSeconds, plainSeconds);
    this.#ledger.add({
      drafter: lead,
      sequences: times.sequences,
      drafted,
      emitted,
      expected,
      seconds: times.draftSeconds + times.passSeconds + times.sampleSeconds + times.otherSeconds,
      plainSeconds,
    });
    this.#cost.observe(times, lead);
    if (asked > 0) this.#cost.observeHead(times.headSeconds, asked);
  }

  /**
   * How many nodes of a step were verified, and how many of them the present table expects to be accepted; siblings of a
   * tree add up, depth by depth.
   */
  #expect(outcomes: NativeOutcomes, offset: number, count: number): { count: number; accepted: number } {
    const chances: number[] = [1];
    let verified = 0;
    for (let at = offset; at < offset + count; ++at) {
      const { depth, shadow, drafter } = unpackNode(outcomes.draftOutcome[at]);
      if (shadow) continue;
      verified += 1;
      chances[depth] = (chances[depth] ?? 0) + this.#chanceOf(drafter, depth, outcomes.draftConfidence[at]);
    }
    let survival = 1;
    let accepted = 0;
    for (let depth = 1; depth < chances.length; ++depth) {
      survival *= Math.min(1, chances[depth]);
      accepted += survival;
    }
    return { count: verified, accepted };
  }

  #learn(outcomes: NativeOutcomes, kind: RowKind, offset: number, count: number): void {
    this.#acceptance.see(kind);
    for (let at = offset; at < offset + count; ++at) {
      const { depth, outcome, shadow, drafter } = unpackNode(outcomes.draftOutcome[at]);
      if (outcome === NodeOutcome.unreached) continue;
      const accepted = outcome === NodeOutcome.accepted;
      const confidence = outcomes.draftConfidence[at];
      if (!shadow) this.#calibration.add(this.#chanceOf(drafter, depth, confidence), accepted);
      this.#acceptance.observe(kind, drafter, depth, confidence, accepted);
    }
  }

  /** Chance that the present table gives a drafted token whose prefix was accepted. */
  #chanceOf(drafter: number, depth: number, confidence: number): number {
    return this.#sent?.acceptance[cellOf(drafter, depth, bucketOf(confidence))] ?? 0;
  }

  #plainSeconds(times: RoundTimes): number {
    const context = (times.contextTokens / Math.max(1, times.rows)) * times.sequences;
    return this.#cost.roundSeconds(times.sequences, context);
  }
}

function readRound(rounds: Float64Array, round: number): RoundTimes & { prefillRows: number } {
  const at = round * roundFields;
  return {
    rows: rounds[at],
    sequences: rounds[at + 1],
    contextTokens: rounds[at + 2],
    prefillRows: rounds[at + 3],
    draftSeconds: rounds[at + 4],
    passSeconds: rounds[at + 5],
    sampleSeconds: rounds[at + 6],
    otherSeconds: rounds[at + 7],
    headSeconds: rounds[at + 8],
  };
}

function differs(a: NativePolicy, b: NativePolicy): boolean {
  if (a.allowed !== b.allowed || a.askEvery.some((every, i) => every !== b.askEvery[i])) return true;
  for (let i = 0; i < b.passSeconds.length; ++i) {
    if (Math.abs(b.passSeconds[i] - a.passSeconds[i]) > priceStep * a.passSeconds[i]) return true;
  }
  for (let i = 0; i < b.acceptance.length; ++i) {
    if (Math.abs(b.acceptance[i] - a.acceptance[i]) > chanceStep) return true;
  }
  return false;
}
