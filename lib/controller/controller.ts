import { Drafter, askFields, drafterCount, roundFields, stepFields } from '../native';
import type { NativeBeliefs, NativeOutcomes, NativePolicy, NativePrices } from '../native';
import { cellOf } from './acceptance';
import type { RowKind } from './acceptance';
import { Beliefs } from './beliefs';
import { Calibration } from './calibration';
import { CostModel, middlingContext } from './cost';
import type { Profile, RoundTimes } from './cost';
import type { DriftFinding } from './drift';
import { Ledger } from './ledger';
import { NodeOutcome, unpackNode } from './nodes';
import { readStep } from './steps';
import type { StepRecord } from './steps';

/** Fixed facts that the controller works with. */
export interface ControllerOptions {
  /** Rows that a pass of decoding may hold, all sequences together. Defaults to 64. */
  rowBudget?: number;
  /** Drafters that may draft. Defaults to suffix, recall, their blend, prediction and head. */
  drafters?: readonly Drafter[];
  /** Least milliseconds between two looks at what came. Defaults to 10. */
  interval?: number;
  /** Milliseconds now; for tests. Defaults to a monotonic clock. */
  now?: () => number;
  /** Whether prices follow what rounds take; `false`: every round takes what it is said to, for tests. Defaults to `true`. */
  measured?: boolean;
  /** Is told when a tenant's drafts begin to fail, or hold again. Defaults to nobody. */
  onDrift?: (tenant: string, finding: DriftFinding) => void;
}

/** Whose rows they are. */
export interface RowOwner {
  tenant: string;
  /**
   * How tokens are drawn; `'other'`: by rules of the request's own, or it is not to be learned from, so that what is right here says
   * nothing about other requests, but its time is the tenant's as well. Undefined: it's not drafted for.
   */
  kind: RowKind | 'other' | undefined;
}

/** A table for one tenant, or for all who have none of their own; no table: this tenant has none any more. */
export interface TenantPolicy {
  tenant: string | undefined;
  policy: NativePolicy | undefined;
}

const standardDrafters: readonly Drafter[] = [
  Drafter.suffix,
  Drafter.recall,
  Drafter.blend,
  Drafter.prediction,
  Drafter.head,
];

/** A changed price or chance below these is not worth a new table. */
const priceStep = 0.02;
const chanceStep = 0.004;
/** Where tables say nothing new, looks become rarer: up to so many intervals apart. */
const rarest = 4;
/** Tenants with beliefs of their own; the one that was seen longest ago begins anew. */
const mostTenants = 256;
/** A round that takes more times its price than this was interrupted by other work of the machine. */
const unusual = 1.35;

/** The outcomes of one crossing, and the owner of each step: its sequence may be gone when they are looked at. */
interface Crossing {
  outcomes: NativeOutcomes;
  owners: (RowOwner | undefined)[];
}

/** What one sequence had of a round. */
interface Share {
  own: Beliefs;
  tokens: number;
  verified: number;
  /** Whether drafters were asked for it, the head aside. */
  isAsked: boolean;
}

/** What all sequences of a round had together. */
interface RoundSum {
  drafter: Drafter;
  drafted: number;
  emitted: number;
  expected: number;
  /** Sequences that drafters were asked for, and the head. */
  asked: number;
  heads: number;
  /** Whether it was decided who drafts: who records drafts and verifies nothing is nobody's choice. */
  isChosen: boolean;
  /** Of those that may be learned from. */
  shares: Share[];
}

/**
 * The policy: keeps what passes cost and how often drafts are accepted, and turns both into the table by which the
 * engine chooses whether, from whom and how far to draft. It sees numbers about rounds, never a token.
 */
export class Controller {
  readonly rowBudget: number;
  readonly #cost: CostModel;
  /** By tenant; the one seen longest ago first. */
  readonly #beliefs = new Map<string, Beliefs>();
  /** Of all who have none of their own: they never change. */
  readonly #common: Beliefs;
  /** Tenants of whom something came since their table was looked at. */
  readonly #news = new Set<string>();
  readonly #dropped: string[] = [];
  /** Whose beliefs were asked for last: most rounds are of the same tenant as the one before. */
  #latest: { tenant: string; own: Beliefs } | undefined;
  readonly #ledger = new Ledger();
  readonly #calibration = new Calibration();
  /** Crossings that came since the last look. */
  #unread: Crossing[] = [];
  readonly #allowed = new Uint8Array(drafterCount);
  readonly #interval: number;
  readonly #now: () => number;
  readonly #measured: boolean;
  readonly #onDrift: ControllerOptions['onDrift'];
  #sent: NativePrices | undefined;
  #lookedAt = -Infinity;
  /** Milliseconds from the last look to the next. */
  #wait: number;

  /** @param profile What passes and drafts cost at load. */
  constructor(profile: Profile, options: ControllerOptions = {}) {
    this.rowBudget = options.rowBudget ?? 64;
    this.#cost = new CostModel(profile, this.rowBudget);
    for (const drafter of options.drafters ?? standardDrafters) this.#allowed[drafter] = 1;
    this.#common = new Beliefs(this.#allowed);
    this.#measured = options.measured ?? true;
    this.#onDrift = options.onDrift;
    this.#interval = this.#wait = options.interval ?? 10;
    this.#now = options.now ?? (() => performance.now());
  }

  /** What passes cost. */
  get cost(): CostModel {
    this.#look();
    return this.#cost;
  }

  /** What is believed of drafts, tenant by tenant. */
  get beliefs(): ReadonlyMap<string, Beliefs> {
    this.#look();
    return this.#beliefs;
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

  /**
   * Takes the outcomes of one crossing, to be looked at with the next table: this thread works while a pass has all processors busy,
   * and code that nothing has run for a pass is slow to begin.
   *
   * @param ownerOf Whose a sequence is; undefined for sequences that must not be learned from.
   */
  observe(outcomes: NativeOutcomes, ownerOf: (sequence: number) => RowOwner | undefined): void {
    const { steps } = outcomes;
    const owners: Crossing['owners'] = [];
    for (let step = 0; step < steps.length; step += stepFields) owners.push(ownerOf(steps[step + 1]));
    this.#unread.push({ outcomes, owners });
  }

  /** New tables, if the last look is not too recent: those that say something else than the engine knows. */
  nextPolicies(): TenantPolicy[] {
    const now = this.#now();
    if (now - this.#lookedAt < this.#wait) return [];
    this.#lookedAt = now;
    this.#look();
    const prices = this.#prices();
    const policies: TenantPolicy[] = this.#dropped.splice(0).map((tenant) => ({ tenant, policy: undefined }));
    if (this.#sent === undefined || pricesDiffer(this.#sent, prices)) {
      if (!this.#common.sent) this.#common.tell(this.#common.table(this.#headPrice()));
      policies.push({ tenant: undefined, policy: { ...prices, ...this.#common.sent! } });
    }
    for (const tenant of this.#news) {
      const own = this.#beliefs.get(tenant);
      const table = own?.table(this.#headPrice());
      if (!table || !beliefsDiffer(own!.sent ?? this.#common.sent!, table)) continue;
      own!.tell(table);
      policies.push({ tenant, policy: { ...prices, ...table } });
    }
    this.#news.clear();
    if (policies.some(({ policy }) => policy)) this.#sent = prices;
    this.#wait = policies.length > 0 ? this.#interval : Math.min(2 * this.#wait, rarest * this.#interval);
    return policies;
  }

  /** The engine did not hear these of the latest tables: they are told again with the next ones. */
  unheard(policies: readonly TenantPolicy[]): void {
    if (policies.length > 0) this.#sent = undefined; // prices come with every table
    for (const { tenant, policy } of policies) {
      if (tenant === undefined) continue;
      if (!policy) this.#dropped.push(tenant);
      else {
        this.#beliefs.get(tenant)?.unheard();
        this.#news.add(tenant);
      }
    }
  }

  /** The table as of now of a tenant, or of all who have none of their own. */
  policy(tenant?: string): NativePolicy {
    this.#look();
    const own = tenant === undefined ? undefined : this.#beliefs.get(tenant);
    return { ...this.#prices(), ...(own ?? this.#common).table(this.#headPrice()) };
  }

  /** Forgets what is believed of a tenant's drafts; undefined = of everybody's. */
  forget(tenant: string | undefined): void {
    this.#look();
    this.#latest = undefined;
    if (tenant === undefined) this.#beliefs.clear();
    else this.#beliefs.delete(tenant);
  }

  /** A tenant's drafts come from another head: what asking brought has to be seen anew. */
  headChanged(tenant: string): void {
    this.#look();
    this.#beliefs.get(tenant)?.askAnew();
  }

  /** A draft of the head in passes of one row. */
  #headPrice(): number {
    return this.#cost.draftSeconds[Drafter.head] / this.#cost.plainRoundSeconds;
  }

  #prices(): NativePrices {
    const draftSeconds = new Float32Array(this.#cost.draftSeconds);
    draftSeconds[Drafter.head] = 0; // it is spent before anything is planned: whether to ask is decided before
    return {
      rowBudget: this.rowBudget,
      passSeconds: new Float32Array(this.#cost.table()),
      secondsPerContextToken: this.#cost.secondsPerContextToken,
      overheadSeconds: this.#cost.overheadSeconds,
      plainSeconds: this.#cost.plainRoundSeconds,
      draftSeconds,
    };
  }

  #look(): void {
    const crossings = this.#unread;
    if (crossings.length === 0) return;
    this.#unread = [];
    for (const crossing of crossings) this.#observeCrossing(crossing);
  }

  #observeCrossing(crossing: Crossing): void {
    const { rounds, steps, asks } = crossing.outcomes;
    let step = 0;
    let ask = 0;
    for (let round = 0; round * roundFields < rounds.length; ++round) {
      const first = step;
      while (step < steps.length && steps[step] === round) step += stepFields;
      this.#observeRound(crossing, round, first, step);
      // Round by round, for crossings hold more or fewer of them as time would have it.
      for (; ask < asks.length && asks[ask] * stepFields < step; ask += askFields) this.#observeAsk(crossing, ask);
    }
  }

  #observeAsk({ outcomes, owners }: Crossing, at: number): void {
    const { asks } = outcomes;
    const owner = owners[asks[at]];
    if (!owner?.kind) return;
    const ask = { promised: asks[at + 2] * 1e-6, tokens: asks[at + 3], passes: asks[at + 4] * 1e-6 };
    this.#beliefsOf(owner.tenant).asking.observe(asks[at + 1], ask);
  }

  #observeRound(crossing: Crossing, round: number, from: number, to: number): void {
    const times = this.#timesOf(crossing.outcomes.rounds, round);
    const decodes = times.prefillRows === 0 && from < to;
    const sum = this.#observeSteps(crossing, from, to);
    if (this.#measured) this.#cost.observePrompts(times.prefillRows, decodes ? times.sequences : 0);
    if (!decodes) return;
    this.#account(times, sum, this.#charge(times, sum));
  }

  #observeSteps({ outcomes, owners }: Crossing, from: number, to: number): RoundSum {
    const shares: Share[] = [];
    const drafter: Drafter = Drafter.none;
    const sum = { drafter, drafted: 0, emitted: 0, expected: 0, asked: 0, heads: 0, isChosen: false, shares };
    for (let i = from; i < to; i += stepFields) {
      const step = readStep(outcomes.steps, i);
      const owner = owners[i / stepFields];
      const own = owner?.kind && this.#beliefsOf(owner.tenant);
      const { verified, isDrafted } = readDrafts(outcomes.draftOutcome, step);
      const isAsked = own ? own.wereAsked(isDrafted) : isDrafted;
      if (verified > 0) sum.drafter = step.drafter;
      sum.drafted += verified;
      sum.emitted += step.tokenCount;
      sum.expected += 1 + step.expected;
      sum.asked += Number(isAsked);
      sum.heads += Number(step.asked > 0);
      sum.isChosen ||= owner !== undefined;
      if (!own) continue;
      shares.push({ own, tokens: step.tokenCount, verified, isAsked });
      this.#learn(own, outcomes, owner, step);
    }
    return sum;
  }

  /**
   * Lets every sequence answer for itself: the rows that its drafts made the round wider by, and the time of drafters that were asked for
   * it. Where no sequence seems to have been asked the engine has not heard of a rest yet.
   *
   * @returns Seconds of drafting that count, as {@link Rest.observe} has it; the head's are not among them.
   */
  #charge(times: RoundTimes, { shares, drafted, asked }: RoundSum): number {
    const { rows, sequences, contextTokens, draftSeconds, headSeconds } = times;
    const plain = this.#plainSeconds(times);
    const perDrafted = (this.#cost.roundSeconds(rows, contextTokens) - plain) / Math.max(1, drafted);
    let drafting = draftSeconds - headSeconds; // whether the head pays is decided for itself
    const each = drafting / (asked || sequences);
    for (const { own, tokens, verified, isAsked } of shares) {
      const price = plain / sequences + perDrafted * verified;
      const spent = isAsked || asked === 0 ? each : 0;
      const plainly = (plain / sequences) * tokens;
      const counted = own.rest.observe(plainly - price, spent, plainly, tokens);
      own.asking.observeRound((price + counted) / this.#cost.plainRoundSeconds, tokens);
      drafting -= spent - counted;
    }
    return drafting;
  }

  /**
   * Keeps what a round brought against plain decoding and against its promise, and what it teaches of prices.
   *
   * @param drafting As {@link #charge} returns it.
   */
  #account(times: RoundTimes, sum: RoundSum, drafting: number): void {
    const { drafter, drafted, emitted, expected, asked, heads, isChosen } = sum;
    const { rows, sequences, contextTokens, headSeconds } = times;
    const { draftSeconds } = this.#cost;
    const price = this.#cost.roundSeconds(rows, contextTokens);
    const promised = price + asked * draftSeconds[Drafter.blend] + heads * draftSeconds[Drafter.head];
    const ofHead = this.#measured && heads > 0 ? this.#cost.observeHead(times, heads) : headSeconds;
    const seconds = times.draftSeconds + times.passSeconds + times.sampleSeconds + times.otherSeconds;
    // Other work of the machine would have held up plain decoding, too.
    const interrupted = Math.max(0, seconds - unusual * (price + drafting + ofHead));
    const plainSeconds = (this.#plainSeconds(times) / sequences) * emitted + interrupted;
    if (isChosen) this.#ledger.add({ drafter, sequences, drafted, emitted, expected, seconds, plainSeconds });
    if (!this.#measured) return;
    if (isChosen) this.#calibration.addRound(expected / sequences, emitted / sequences, promised, seconds);
    this.#cost.observe(times, drafter);
  }

  /** Seconds of a round, as they were measured or as its price says. */
  #timesOf(rounds: Float64Array, round: number): RoundTimes & { prefillRows: number } {
    const times = readRound(rounds, round);
    if (this.#measured) return times;
    const { draftSeconds } = this.#cost;
    return {
      ...times,
      draftSeconds: times.sequences * (draftSeconds[Drafter.suffix] + draftSeconds[Drafter.recall]),
      passSeconds: this.#cost.roundSeconds(times.rows, times.contextTokens),
      ...{ sampleSeconds: 0, otherSeconds: 0, headSeconds: 0, headContext: 0 },
    };
  }

  /** A tenant of whom something came. */
  #beliefsOf(tenant: string): Beliefs {
    this.#news.add(tenant);
    if (this.#latest?.tenant === tenant) return this.#latest.own;
    const own = this.#beliefs.get(tenant) ?? new Beliefs(this.#allowed);
    this.#latest = { tenant, own };
    this.#beliefs.delete(tenant);
    this.#beliefs.set(tenant, own);
    if (this.#beliefs.size > mostTenants) {
      const oldest = this.#beliefs.keys().next().value!;
      this.#beliefs.delete(oldest);
      this.#dropped.push(oldest);
    }
    return own;
  }

  #learn(own: Beliefs, outcomes: NativeOutcomes, { tenant, kind }: RowOwner, step: StepRecord): void {
    if (!kind || kind === 'other') return;
    this.#learnChances(own, outcomes, kind, step);
    this.#watchDrift(own, tenant, outcomes, step);
  }

  #learnChances(own: Beliefs, outcomes: NativeOutcomes, kind: RowKind, { draftOffset, draftCount }: StepRecord): void {
    own.acceptance.see(kind);
    for (let at = draftOffset; at < draftOffset + draftCount; ++at) {
      const { depth, outcome, shadow, drafter } = unpackNode(outcomes.draftOutcome[at]);
      if (outcome === NodeOutcome.unreached) continue;
      const accepted = outcome === NodeOutcome.accepted;
      const confidence = outcomes.draftConfidence[at];
      if (!shadow) this.#calibration.add(outcomes.draftChance[at], accepted);
      own.acceptance.observe(kind, drafter, depth, confidence, accepted);
    }
  }

  /** First tokens are decided in the round that drafts them, whatever it verifies. */
  #watchDrift(own: Beliefs, tenant: string, outcomes: NativeOutcomes, step: StepRecord): void {
    const { sequence, draftOffset, draftCount } = step;
    if (draftCount === 0 || !own.drift.begin(sequence)) return;
    for (let at = draftOffset; at < draftOffset + draftCount; ++at) {
      const { depth, outcome, drafter } = unpackNode(outcomes.draftOutcome[at]);
      if (depth !== 1) continue;
      own.drift.add(drafter, outcomes.draftConfidence[at], outcome === NodeOutcome.accepted);
    }
    for (const finding of own.drift.end()) this.#onDrift?.(tenant, finding);
  }

  #plainSeconds(times: RoundTimes): number {
    const context = (times.contextTokens / Math.max(1, times.rows)) * times.sequences;
    return this.#cost.roundSeconds(times.sequences, context);
  }
}

/** How many drafted tokens a step verified, and whether a drafter that takes time has drafted any: its first ones are decided at once. */
function readDrafts(
  draftOutcome: Int32Array,
  { draftOffset, draftCount }: StepRecord,
): { verified: number; isDrafted: boolean } {
  let verified = 0;
  let isDrafted = false;
  for (let at = draftOffset; at < draftOffset + draftCount; ++at) {
    const { depth, shadow, age, drafter } = unpackNode(draftOutcome[at]);
    if (!shadow) verified += 1;
    isDrafted ||=
      depth === 1 && age === 0 && drafter !== Number(Drafter.prediction) && drafter !== Number(Drafter.head);
  }
  return { verified, isDrafted };
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
    headContext: rounds[at + 9],
  };
}

/** Whether prices say something that is worth a new table. */
export function pricesDiffer(a: NativePrices, b: NativePrices): boolean {
  const noticeable = priceStep * a.passSeconds[0];
  if (middlingContext * Math.abs(b.secondsPerContextToken - a.secondsPerContextToken) > noticeable) return true;
  if (a.draftSeconds.some((seconds, drafter) => Math.abs(b.draftSeconds[drafter] - seconds) > noticeable)) return true;
  const overhead = b.overheadSeconds - a.overheadSeconds;
  return a.passSeconds.some((seconds, i) => Math.abs(b.passSeconds[i] - seconds + overhead) > priceStep * seconds);
}

/** Whether beliefs about those who may draft do. */
function beliefsDiffer(a: NativeBeliefs, b: NativeBeliefs): boolean {
  if (a.allowed !== b.allowed) return true;
  if (b.allowed[Drafter.head])
    for (let i = 0; i < b.askEvery.length; ++i) if (a.askEvery[i] !== b.askEvery[i]) return true;
  for (let drafter = 0; drafter < drafterCount; ++drafter)
    if (b.allowed[drafter] && chancesDiffer(a.acceptance, b.acceptance, drafter)) return true;
  return false;
}

function chancesDiffer(a: Float32Array, b: Float32Array, drafter: number): boolean {
  for (let at = cellOf(drafter, 1, 0); at < cellOf(drafter + 1, 1, 0); ++at)
    if (Math.abs(b[at] - a[at]) > chanceStep) return true;
  return false;
}
