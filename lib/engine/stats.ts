import type { Usage } from '../decode/result';
import type { NativeStats } from '../native';

/** What a tenant's requests have used since the engine was loaded, those that have ended, whichever way. */
export interface TenantStats {
  /** Requests that have ended. */
  requests: number;
  /** Tokens of prompts. */
  promptTokens: number;
  /** Of those, the ones whose keys and values were still in the cache. */
  cachedPromptTokens: number;
  /** Generated tokens, stop tokens included. */
  completionTokens: number;
  /** Of those, the ones that had been drafted. */
  acceptedDraftTokens: number;
  /** Drafted tokens that the model did not choose. */
  rejectedDraftTokens: number;
}

/** What an engine has done since it was loaded, and what it holds. */
export interface EngineStats extends NativeStats {
  /** Requests that wait for a place, or whose prompt is still being read. */
  waiting: number;
  /** Mean tokens per pass of a sequence after its first token: 1 = plain decoding. */
  acceptanceLength: number;
  /** Plain decoding's seconds at measured prices, by the seconds taken; 1 with speculation disabled. */
  speedup: number;
  /** Seconds of decoding rounds. */
  roundSeconds: number;
  /** Seconds that plain decoding would have taken for their tokens, at measured prices. */
  plainSeconds: number;
  /** Expected calibration error of drafted tokens' chances: 0 = accepted exactly as often as the controller had believed. */
  calibrationError: number;
  /** By how much rounds take other seconds a token than promised, as a share: by the tokens expected, weighted by seconds. */
  calibrationSeconds: number;
  /** By tenant; the busiest of late, at most 1000. What a tenant has used is not forgotten with what it taught. */
  tenants: Record<string, TenantStats>;
}

const maxTenants = 1000;

/** Adds up what tenants use; forgets those that have not been heard of for longest. */
export class TenantLedger {
  readonly #tenants = new Map<string, TenantStats>();

  add(tenant: string, usage: Usage): void {
    const stats = this.#tenants.get(tenant) ?? emptyStats();
    this.#tenants.delete(tenant);
    this.#tenants.set(tenant, stats);
    stats.requests += 1;
    stats.promptTokens += usage.promptTokens;
    stats.cachedPromptTokens += usage.cachedPromptTokens;
    stats.completionTokens += usage.completionTokens;
    stats.acceptedDraftTokens += usage.acceptedDraftTokens;
    stats.rejectedDraftTokens += usage.rejectedDraftTokens;
    if (this.#tenants.size > maxTenants) this.#tenants.delete(this.#tenants.keys().next().value!);
  }

  /** A copy. */
  toObject(): Record<string, TenantStats> {
    return Object.fromEntries(Array.from(this.#tenants, ([tenant, stats]) => [tenant, { ...stats }]));
  }
}

function emptyStats(): TenantStats {
  return {
    requests: 0,
    promptTokens: 0,
    cachedPromptTokens: 0,
    completionTokens: 0,
    acceptedDraftTokens: 0,
    rejectedDraftTokens: 0,
  };
}
