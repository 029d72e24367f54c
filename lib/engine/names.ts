import { OptionReader, invalidOption } from './validate';

const longest = 256;

/** The name of a tenant, a group or a session. Throws INVALID_OPTION. */
export function readName(read: OptionReader, name: string, fallback: string): string {
  const value = read.string(name, fallback);
  if (value.length > longest) throw invalidOption(name, `a string of at most ${longest} characters`, value);
  // Native code knows names as UTF-8, in which all halves of surrogate pairs are one character: two tenants would be one.
  if (/\p{Surrogate}/u.test(value)) throw invalidOption(name, 'a string of whole characters', value);
  return value;
}

/** The name of a tenant: no group's key can be one, and a name that is missing somewhere must not pool people. Throws INVALID_OPTION. */
export function readTenant(read: OptionReader): string {
  const value = readName(read, 'tenant', 'default');
  if (value !== '' && !value.includes('\0')) return value;
  throw invalidOption('tenant', 'a name that is not empty and has no zero bytes', value);
}

/** Whose learned state is meant: of a session (its tenant and group beside it say which), a tenant or a group; `{}` means all of it. */
export interface Learned {
  /** The tenant: all that it taught, or with `session` that session of it. */
  tenant?: string;
  /** The group: all that was taught in it, or with `session` that session of it. */
  group?: string;
  /** The session; where no tenant and no group is named, those of this name of all. */
  session?: string;
}

/** Checks what is to be forgotten: a name that was mistaken, or is not there, must not mean everything. Throws INVALID_OPTION. */
export function checkLearned(what: Learned | undefined): Learned {
  const read = new OptionReader(what, 'what to forget');
  const learned = {
    tenant: read.raw('tenant') === undefined ? undefined : readTenant(read),
    group: readGiven(read, 'group'),
    session: readGiven(read, 'session'),
  };
  read.finish();
  // Either alone: together they would leave what only one of them has.
  if (learned.tenant !== undefined && learned.group !== undefined && learned.session === undefined)
    throw invalidOption('group', 'nothing beside a tenant (forget both in two calls)', learned.group);
  const given = Object.keys(what ?? {});
  if (given.length > 0 && Object.values(learned).every((name) => name === undefined))
    throw invalidOption(given[0], 'a name', undefined);
  return learned;
}

function readGiven(read: OptionReader, name: string): string | undefined {
  if (read.raw(name) === undefined) return undefined;
  const value = readName(read, name, '');
  if (value !== '') return value;
  throw invalidOption(name, 'a name', value);
}
