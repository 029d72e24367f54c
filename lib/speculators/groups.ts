/** Begins the key of a group's learned state: no tenant's name holds it. */
const mark = '\0';

/** The key of what a request learns for and drafts from: its group's, or its tenant's own. */
export function learnerOf(tenant: string, group: string | undefined): string {
  return group ? mark + group : tenant;
}

/** The name of a key's group; undefined for a tenant's. */
export function groupOf(learner: string): string | undefined {
  return learner.startsWith(mark) ? learner.slice(mark.length) : undefined;
}

/** A learner as events name it: a tenant, or with `group` the group of this name. */
export function whose(learner: string): { tenant: string; group?: true } {
  const group = groupOf(learner);
  return group === undefined ? { tenant: learner } : { tenant: group, group: true };
}

/** Which tenants have taken part in what groups have learned: who is forgotten takes all of that along. */
export class Groups {
  /** By the group's key. */
  readonly #members = new Map<string, Set<string>>();

  /** A tenant's request begins. */
  join(tenant: string, learner: string): void {
    if (groupOf(learner) === undefined) return;
    const members = this.#members.get(learner) ?? new Set();
    this.#members.set(learner, members.add(tenant));
  }

  /** Keys of the groups that a tenant has taken part in. */
  of(tenant: string): string[] {
    return Array.from(this.#members)
      .filter(([, members]) => members.has(tenant))
      .map(([learner]) => learner);
  }

  /** Nothing is left of what a group has learned; undefined = of all. */
  forget(learner: string | undefined): void {
    if (learner === undefined) this.#members.clear();
    else this.#members.delete(learner);
  }
}
