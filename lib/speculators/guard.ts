import { ChangeCapital, GainBound, Capital } from '../capital';
import type { NativeJudged } from '../native';
import { mostPositions, replay } from './foreseen';
import type { Replay } from './foreseen';
import type { Evidence } from './manifest';
import { TenantGains } from './tenant-gains';

/** Chance of promoting a head that brings nothing, however often it is looked at. */
const alpha = 0.05;
/** What a tenant may lose, as a share of its rounds. */
const worstLoss = 0.02;
/** Texts after which a candidate that is neither better nor worse is given up. */
const patience = 1024;
/** Texts on average until a head that is as good as the one before it is left by mistake; far more than until a bad one is. */
const falseRollback = 2500;
/** Rounds that the live acceptance length is a mean of, roughly. */
const memory = 256;
/** Tokens a round below which drafting is as good as broken, and above which it works again. */
const broken = 1.05;
const works = 1.2;

/** Whose a verified text is, and what each head would have drafted along it. */
export type Scored = Pick<NativeJudged, 'tenant' | 'live' | 'candidate' | 'previous'>;

/** What the guard decided: promote or give up the candidate, go back to the previous head, or say that drafting is broken. */
export interface Verdict {
  kind: 'promote' | 'discard' | 'rollback' | 'alarm';
  evidence: Evidence;
}

/**
 * Decides by rounds which head drafts. Every verified text is decoded again on paper with each head: the lengths that it would have had
 * accepted. A candidate is promoted when the lower bound of what it saves, valid whenever it is looked at, is above 0 and no tenant that it
 * would serve gets worse by more than 2 %; the live one is left when the one before it has been faster of late.
 *
 * Each text is one bet. The parts of a text are alike: bets on one after the other would be won together, and capital would grow by chance
 * alone where a candidate is better on one kind of text and as much worse on another.
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

  /** Takes one verified text, before it is learned from. */
  observe({ tenant, live, candidate, previous }: Scored): Verdict[] {
    const ran = replay(live);
    const verdicts: Verdict[] = [];
    if (this.#sounds(ran)) verdicts.push({ kind: 'alarm', evidence: { acceptanceLength: this.#acceptance } });
    if (previous.length > 0 && this.#fell(ran.rounds, replay(previous).rounds)) {
      verdicts.push({ kind: 'rollback', evidence: { capital: this.#watch.value, acceptanceLength: this.#acceptance } });
      this.#restart();
    } else if (candidate.length > 0 && this.#trial) {
      this.#trial.observe(tenant, ran.rounds, replay(candidate).rounds);
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

  #fell(live: number, previous: number): boolean {
    this.#watch.add((live - previous) / mostPositions);
    return this.#watch.value >= falseRollback;
  }

  /** Whether the acceptance length has just come near 1. */
  #sounds({ rounds, tokens }: Replay): boolean {
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
  readonly #tenants = new TenantGains();
  readonly #worse = new Capital();

  /** Takes the rounds of a text with either head. */
  observe(tenant: string, live: number, candidate: number): void {
    this.#all.add(live, candidate, mostPositions);
    this.#tenants.add(tenant, live, candidate);
    this.#worse.add((candidate - live) / mostPositions);
  }

  get outcome(): 'promote' | 'discard' | undefined {
    if (this.#all.lower >= 0 && this.#worst >= -worstLoss) return 'promote';
    if (this.#worse.value >= 1 / alpha || this.#all.pairs >= patience) return 'discard';
    return undefined;
  }

  /** What the tenant gains who gains least: where there is little text of each, all of them together. */
  get #worst(): number {
    return Math.min(this.#all.mean, this.#tenants.worst);
  }

  get evidence(): Evidence {
    return {
      gain: this.#all.mean,
      lowerBound: Math.max(-1, this.#all.lower),
      worstTenant: this.#worst,
      tenants: this.#tenants.size,
      texts: this.#all.pairs,
      worse: this.#worse.value,
      alpha,
    };
  }
}
