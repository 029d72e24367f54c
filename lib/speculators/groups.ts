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

/** Members of a group that are known by name. */
const mostMembers = 1024;

/**
 * Which tenants have taken part in what groups have learned: who is forgotten takes all of that along. Of a group with more members than
 * are known by name anybody may have been one.
 */
export class Groups {
  /** By the group's key. */
  readonly #members = new Map<string, Set<string> | 'anybody'>();

  /** A tenant's request begins. */
  join(tenant: string, learner: string): void {
    if (groupOf(learner) === undefined) return;
    const members = this.#members.get(learner) ?? new Set();
    if (members === 'anybody') return;
    members.add(tenant);
    this.#members.set(learner, members.size > mostMembers ? 'anybody' : members);
  }

  /** Keys of the groups that a tenant has taken part in, or may have. */
  of(tenant: string): string[] {
    return Array.from(this.#members)
      .filter(([, members]) => members === 'anybody' || members.has(tenant))
      .map(([learner]) => learner);
  }

  /** Nothing is left of what a group has learned; undefined = of all. */
  forget(learner: string | undefined): void {
    if (learner === undefined) this.#members.clear();
    else this.#members.delete(learner);
  }
}
