import { ChangeCapital, GainBound, Capital } from '../capital';
import { replay, windowPositions } from './foreseen';
import type { Foreseen, RoundPrice } from './foreseen';
import type { Evidence } from './manifest';

/** Chance of promoting a head that brings nothing, however often it is looked at. */
const alpha = 0.05;
/** What a tenant may lose, as a share of its seconds. */
const worstLoss = 0.02;
/** Windows of text after which a candidate that is neither better nor worse is given up. */
const patience = 2048;
/** Windows on average until a head that is as good as the one before it is left by mistake; far more than until a bad one is. */
const falseRollback = 5000;
/** Rounds that the live acceptance length is a mean of, roughly. */
const memory = 256;
/** Tokens a round below which drafting is as good as broken, and above which it works again. */
const broken = 1.05;
const works = 1.2;

/** What each head would have drafted along one verified text. */
export interface Scored {
  tenant: string;
  /** Of the head that drafts. */
  live: Foreseen;
  /** Of the head that might take its place. */
  candidate?: Foreseen;
  /** Of the head that the live one took the place of. */
  previous?: Foreseen;
}

/** What the guard decided: promote or give up the candidate, go back to the previous head, or say that drafting is broken. */
export interface Verdict {
  kind: 'promote' | 'discard' | 'rollback' | 'alarm';
  evidence: Evidence;
}

/**
 * Decides by seconds which head drafts. Every verified text is decoded again on paper with each head: the lengths that it would have had
 * accepted, at what rounds cost now. A candidate is promoted when the lower bound of what it saves, valid whenever it is looked at, is
 * above 0 and no tenant that it would serve may lose more than 2 %; the live one is left when the one before it has been faster of late.
 */
export class Guard {
  #trial: Trial | undefined;
  #watch = new ChangeCapital();
  #acceptance = works;
  #alarmed = false;

  /** Begins to judge another candidate. */
  try(): void {
    this.#trial = new Trial();
  }

  /** Tokens a round of the live head, of late; and of the candidate's trial so far. */
  get state(): { acceptanceLength: number; trial: Evidence | undefined } {
    return { acceptanceLength: this.#acceptance, trial: this.#trial?.evidence };
  }

  /**
   * Takes one verified text, before it is learned from.
   *
   * @param price What rounds cost now.
   * @param most Tokens of a draft at most.
   */
  observe({ tenant, live, candidate, previous }: Scored, price: RoundPrice, most: number): Verdict[] {
    const worst = windowPositions * price(most);
    const ran = replay(live, price);
    const verdicts: Verdict[] = [];
    if (this.#sounds(ran.rounds, ran.tokens)) {
      verdicts.push({ kind: 'alarm', evidence: { acceptanceLength: this.#acceptance } });
    }
    if (previous && this.#fell(ran.seconds, replay(previous, price).seconds, worst)) {
      verdicts.push({ kind: 'rollback', evidence: { capital: this.#watch.value, acceptanceLength: this.#acceptance } });
      this.#restart();
    } else if (candidate && this.#trial) {
      this.#trial.observe(tenant, ran.seconds, replay(candidate, price).seconds, worst);
      const kind = this.#trial.outcome;
      if (kind) {
        verdicts.push({ kind, evidence: this.#trial.evidence });
        this.#restart();
      }
    }
    return verdicts;
  }

  /** Another head drafts, or another candidate is to come: what was counted says nothing about it. */
  #restart(): void {
    this.#trial = undefined;
    this.#watch = new ChangeCapital();
  }

  #fell(live: Float64Array, previous: Float64Array, worst: number): boolean {
    for (let i = 0; i < live.length; ++i) this.#watch.add((live[i] - previous[i]) / worst);
    return this.#watch.value >= falseRollback;
  }

  /** Whether the acceptance length has just come near 1. */
  #sounds(rounds: number, tokens: number): boolean {
    if (rounds === 0) return false;
    const kept = Math.exp(-rounds / memory);
    this.#acceptance = kept * this.#acceptance + (1 - kept) * (tokens / rounds);
    const before = this.#alarmed;
    this.#alarmed = this.#acceptance < (before ? works : broken);
    return this.#alarmed && !before;
  }
}

/** One candidate against the live head, over all tenants and tenant by tenant. */
class Trial {
  readonly #all = new GainBound(alpha);
  readonly #byTenant = new Map<string, GainBound>();
  readonly #worse = new Capital();

  observe(tenant: string, live: Float64Array, candidate: Float64Array, worst: number): void {
    let own = this.#byTenant.get(tenant);
    if (!own) this.#byTenant.set(tenant, (own = new GainBound(alpha)));
    for (let i = 0; i < live.length; ++i) {
      this.#all.add(live[i], candidate[i], worst);
      own.add(live[i], candidate[i], worst);
      this.#worse.add((candidate[i] - live[i]) / worst);
    }
  }

  get outcome(): 'promote' | 'discard' | undefined {
    if (this.#all.lower >= 0 && this.#worst >= -worstLoss) return 'promote';
    if (this.#worse.value >= 1 / alpha || this.#all.pairs >= patience) return 'discard';
    return undefined;
  }

  /** The lowest bound of all tenants. */
  get #worst(): number {
    return Math.min(...Array.from(this.#byTenant.values(), ({ lower }) => lower));
  }

  get evidence(): Evidence {
    return {
      gain: this.#all.mean,
      lowerBound: Math.max(-1, this.#all.lower),
      worstTenant: Math.max(-1, this.#worst),
      tenants: this.#byTenant.size,
      windows: this.#all.pairs,
      worse: this.#worse.value,
      alpha,
    };
  }
}
