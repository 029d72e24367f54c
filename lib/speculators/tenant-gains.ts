/** Texts of a tenant from which on it is looked at by itself: of fewer, chance says more than the head. */
const enough = 4;

/** Rounds of some texts with either of two heads. */
class Rounds {
  texts = 0;
  #before = 0;
  #after = 0;

  add(before: number, after: number): void {
    this.texts += 1;
    this.#before += before;
    this.#after += after;
  }

  include(other: Rounds): void {
    this.texts += other.texts;
    this.#before += other.#before;
    this.#after += other.#after;
  }

  get gain(): number {
    return 1 - this.#after / this.#before;
  }
}

/**
 * What a head would save each tenant that it would serve, as far as their texts have shown: an estimate, for a bound would
 * need hundreds of texts of every member of a group. It errs to the side of blocking: the more members there are, the more likely one of
 * them looks worse than it is, and is waited for.
 */
export class TenantGains {
  readonly #byTenant = new Map<string, Rounds>();

  /** Takes a text: its rounds with the head that drafts, and with the one that might take its place. */
  add(tenant: string, before: number, after: number): void {
    let own = this.#byTenant.get(tenant);
    if (!own) this.#byTenant.set(tenant, (own = new Rounds()));
    own.add(before, after);
  }

  /** How many tenants there are. */
  get size(): number {
    return this.#byTenant.size;
  }

  /**
   * The share of rounds that the tenant who gains least saves. Tenants of few texts are taken together, as one: none of them blocks by
   * itself, and all of them are not passed over. Infinity where there is not enough text of anybody.
   */
  get worst(): number {
    const others = new Rounds();
    let worst = Infinity;
    for (const own of this.#byTenant.values()) {
      if (own.texts < enough) others.include(own);
      else worst = Math.min(worst, own.gain);
    }
    return others.texts < enough ? worst : Math.min(worst, others.gain);
  }
}
