import { isLackOfMemory } from '../error';

/** Learners who can't be written down until letting go waits for the next request: the disk is full, say. */
const mostFailures = 8;

/** What {@link Learners} works with. */
export interface LearnersOptions {
  /** Learners that something may be held of, and those among them that may have a draft head of their own. */
  most: { learners: number; heads: number };
  /** Learners that have a draft head of their own. */
  withHeads: () => ReadonlySet<string>;
  /** Writes down what is to be found again of a learner; where that fails the learner stays, unless somebody removed what it has on disk. */
  keep: (learner: string) => Promise<void>;
  /** Nothing is held of a learner any more. Where that fails for lack of memory nothing has changed: it stays. */
  drop: (learner: string) => void;
}

/** A learner of whom something may be held. */
interface Seen {
  /** Its requests that run now, and all so far. */
  running: number;
  requests: number;
}

/**
 * Whose learned state is held: that of the learners seen last. Beyond a number of them, those whose last request began longest ago are
 * let go of, once they are idle: what is kept on disk is found again with their next request, all else is forgotten.
 */
export class Learners {
  /** The one seen longest ago first. */
  readonly #seen = new Map<string, Seen>();
  #trimming: Promise<void> | undefined;

  constructor(private readonly options: LearnersOptions) {}

  /** Whether something may be held of a learner. */
  has(learner: string): boolean {
    return this.#seen.has(learner);
  }

  /** How many there are. */
  get size(): number {
    return this.#seen.size;
  }

  /** A request of a learner begins; the answer is to be called once it has ended. Waits where letting go has fallen behind. */
  async enter(learner: string): Promise<() => void> {
    const seen = this.#seen.get(learner) ?? { running: 0, requests: 0 };
    this.#seen.delete(learner);
    this.#seen.set(learner, seen);
    seen.running += 1;
    seen.requests += 1;
    if (this.#tooMany()) this.#trimming ??= this.#trim().finally(() => (this.#trimming = undefined));
    if (this.#seen.size > 2 * this.options.most.learners) await this.#trimming;
    return () => void (seen.running -= 1);
  }

  /** Waits until nobody is being let go of. */
  async settled(): Promise<void> {
    await this.#trimming;
  }

  async #trim(): Promise<void> {
    let failures = 0;
    for (const [learner, seen] of this.#seen) {
      if (!this.#tooMany() || failures === mostFailures) return;
      const isMeant = this.#seen.size > this.options.most.learners || this.options.withHeads().has(learner);
      if (!isMeant || seen.running > 0) continue;
      const { requests } = seen;
      const isKept = await this.#keep(learner);
      const isBack = seen.requests !== requests; // who asks for something meanwhile stays
      const isDone = isKept && (isBack || this.#drop(learner));
      failures += Number(!isDone);
      if (isBack) continue;
      this.#seen.delete(learner);
      if (!isDone) this.#seen.set(learner, seen); // behind the others, of whom some may go
    }
  }

  #drop(learner: string): boolean {
    try {
      this.options.drop(learner);
      return true;
    } catch (error) {
      if (!isLackOfMemory(error)) throw error;
      return false;
    }
  }

  #keep(learner: string): Promise<boolean> {
    return this.options.keep(learner).then(
      () => true,
      (error: unknown) => (error as { code?: unknown }).code === 'FILE_NOT_FOUND',
    );
  }

  #tooMany(): boolean {
    const { learners, heads } = this.options.most;
    return this.#seen.size > learners || this.options.withHeads().size > heads;
  }
}
