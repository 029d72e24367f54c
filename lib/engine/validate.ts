import { ForetokenError } from '../error';

/** The error for an option that cannot be used. */
export function invalidOption(name: string, expected: string, actual: unknown): ForetokenError {
  return new ForetokenError('INVALID_OPTION', `Expected ${expected} for ${name} but received ${describe(actual)}`);
}

/** A value in an error message, cut short. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (value === null || value === undefined) return `${value}`;
  const text =
    typeof value === 'string' ? JSON.stringify(value) : (value as number | boolean | bigint | symbol).toString();
  return `${text.length > 60 ? `${text.slice(0, 60)}...` : text} of type ${typeof value}`;
}

/** What a name has in common with its spelling elsewhere: maxTokens, max_tokens, max-tokens. */
function lettersOf(name: string): string {
  return name.toLowerCase().replaceAll(/[_-]/g, '');
}

/** Reads options one by one; each reader returns the default where the option is absent and throws where it is wrong. */
export class OptionReader {
  readonly #options: Record<string, unknown>;
  readonly #known = new Set<string>();
  readonly #absent = new Set<string>();
  readonly #prefix: string;

  /** @param prefix Put before names in errors, such as 'speculation.'. */
  constructor(options: unknown, what: string, prefix = '') {
    if (options !== undefined && (typeof options !== 'object' || options === null || Array.isArray(options))) {
      throw invalidOption(what, 'an object', options);
    }
    this.#options = (options ?? {}) as Record<string, unknown>;
    this.#prefix = prefix;
  }

  /** The raw value, `fallback` where the option is absent, which null is not; marks the name as known. */
  raw(name: string, fallback?: unknown): unknown {
    this.#known.add(name);
    const value = this.#options[name];
    return value === undefined ? fallback : value;
  }

  /** Options that say something: for who hands them on. */
  given(): Record<string, unknown> {
    return Object.fromEntries(Object.entries(this.#options).filter(([, value]) => value !== undefined));
  }

  integer(name: string, fallback: number, min: number, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.raw(name);
    if (value === undefined) return fallback;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.#wrong(name, max === Number.MAX_SAFE_INTEGER ? `an integer >= ${min}` : `an integer ${min}..${max}`);
  }

  number(name: string, fallback: number, min: number, max: number): number {
    const value = this.raw(name);
    if (value === undefined) return fallback;
    if (typeof value === 'number' && value >= min && value <= max) return value;
    throw this.#wrong(name, max === Infinity ? `a number >= ${min}` : `a number ${min}..${max}`);
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name);
    if (value === undefined) return fallback;
    if (typeof value === 'boolean') return value;
    throw this.#wrong(name, 'a boolean');
  }

  string(name: string, fallback: string): string {
    const value = this.raw(name);
    if (value === undefined) return fallback;
    if (typeof value === 'string') return value;
    throw this.#wrong(name, 'a string');
  }

  oneOf<T extends string>(name: string, fallback: T, values: readonly T[]): T {
    const value = this.raw(name);
    if (value === undefined) return fallback;
    if (values.includes(value as T)) return value as T;
    throw this.#wrong(name, `one of ${values.join(', ')}`);
  }

  signal(name: string): AbortSignal | undefined {
    const value = this.raw(name);
    if (value === undefined || value instanceof AbortSignal) return value;
    throw this.#wrong(name, 'an AbortSignal');
  }

  callback<T>(name: string): T | undefined {
    const value = this.raw(name);
    if (value === undefined || typeof value === 'function') return value as T | undefined;
    throw this.#wrong(name, 'a function');
  }

  /** Throws where one of these says something: others may say it, but not who gives these options, for the reason `why`. */
  absent(why: string, ...names: string[]): void {
    for (const name of names) {
      if (this.raw(name) !== undefined) throw this.#wrong(name, `nothing (${why})`);
      this.#absent.add(name);
    }
  }

  /** Throws for a name that was never asked for: a misspelt option is not an option that is silently off. */
  finish(): void {
    for (const name of Object.keys(this.#options)) {
      if (this.#known.has(name) || this.#options[name] === undefined) continue;
      const known = [...this.#known].filter((each) => !this.#absent.has(each)).sort();
      const meant = known.find((each) => lettersOf(each) === lettersOf(name));
      const help = meant ? `it is called ${meant}` : `there are ${known.join(', ')}`;
      throw new ForetokenError('INVALID_OPTION', `Unknown option ${this.#prefix}${name}; ${help}`);
    }
  }

  #wrong(name: string, expected: string): ForetokenError {
    return invalidOption(this.#prefix + name, expected, this.#options[name]);
  }
}
