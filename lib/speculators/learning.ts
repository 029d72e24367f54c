import { existsSync } from 'node:fs';
import { ForetokenError, callNative } from '../error';
import { groupOf, whose } from './groups';
import type { NativeEngine, NativeJudged } from '../native';
import type { LearningEvent } from './events';
import { Guard } from './guard';
import type { Verdict } from './guard';
import { liveVersion } from './manifest';
import type { Evidence, HeadVersion } from './manifest';
import { readMemory } from './memory';
import type { Memory } from './memory';
import type { SpeculatorStore } from './store';

/** What {@link Learning} works with. */
export interface LearningOptions {
  /** Whether heads learn. */
  heads: boolean;
  /** The format of the target's weights. */
  weights: string;
  /** Where what was learned is kept; undefined = nowhere. */
  store: SpeculatorStore | undefined;
  /** Whether anything is still held of a learner: what comes late of another one is ignored. */
  holds: (learner: string) => boolean;
  onEvent: (event: LearningEvent) => void;
  /** Another head drafts for a tenant from now on. */
  onHead: (tenant: string) => void;
}

/** How learning stands with one tenant. */
interface TenantState {
  guard: Guard;
  /** Number of the candidate that is or was judged last. */
  candidate: number;
  /** The version that drafts; 0 = the static head. */
  version: number;
  /** The one that drafted before it. */
  previous: number;
  /** Versions so far, where none are kept on disk. */
  versions: number;
}

/** A tenant of whom what was kept is there, or is being found again. */
interface Opened {
  done: Promise<void>;
  /** Whether it has been found again. */
  isOpen: boolean;
  /** The stamp of the file whose text is all in memory; undefined: what made room for others' text is on disk alone. */
  basis: string | undefined;
}

/** A tenant's remembered text on disk, and the stamp of its file. */
interface KeptText {
  memory: Memory | undefined;
  stamp: string;
}

/** What lies on disk of a tenant. */
interface Kept extends KeptText {
  live: HeadVersion | undefined;
  /** The file of the live version, if it is there. */
  head: string | undefined;
}

/** What tenants teach an engine: judged, decided about, kept and found again, and forgotten. One tenant never touches another. */
export class Learning {
  readonly #tenants = new Map<string, TenantState>();
  readonly #opened = new Map<string, Opened>();
  readonly #withHeads = new Set<string>();
  /** Where heads are kept, while the weights are those that the store is of. */
  #headStore: SpeculatorStore | undefined;
  /** Decisions and deletions, one after the other. */
  #work: Promise<void> = Promise.resolve();
  /** How often something was forgotten. */
  #forgotten = 0;
  /** How often a tenant's text had made room for others' when that was written down last. */
  #dropped = 0;
  #keepingDropped: Promise<void> = Promise.resolve();

  constructor(
    private readonly native: NativeEngine,
    private readonly options: LearningOptions,
  ) {
    this.#headStore = options.store;
    if (options.heads)
      native.watchLearning((judged) => this.judge(judged), this.#tellerOf('stopped'), this.#tellerOf('onCpu'));
  }

  /**
   * Before a learner's request: what was kept of a tenant is there again if this is its first one, or if its text has made room for others'
   * meanwhile; where that can't be, it begins anew. Where it is memory that is lacking, what is on disk stays, and the next request tries
   * again. Text that has made room by now is on disk when this ends, so that there is never much of it.
   */
  async open(learner: string): Promise<void> {
    await this.#keepDropped();
    if (groupOf(learner) !== undefined) return; // nothing of it is kept
    const known = this.#opened.get(learner);
    if (!known) return this.#openFirst(learner);
    if (known.isOpen && known.basis === undefined) {
      known.basis = '';
      known.done = this.#restore(learner, known).catch((error: unknown) => {
        this.#notKept(learner)(error);
        if (isLackOfMemory(error)) known.basis = undefined;
      });
    }
    return known.done;
  }

  #openFirst(tenant: string): Promise<void> {
    const opened: Opened = { done: Promise.resolve(), isOpen: false, basis: '' };
    const failed = (error: unknown): void => {
      this.#notKept(tenant)(error);
      if (isLackOfMemory(error)) this.#opened.delete(tenant);
    };
    opened.done = this.#open(tenant, opened)
      .catch(failed)
      .then(() => void (opened.isOpen = true));
    this.#opened.set(tenant, opened);
    return opened.done;
  }

  /** Learners that a head of their own drafts for. */
  get withHeads(): ReadonlySet<string> {
    return this.#withHeads;
  }

  /** Takes what a text says about a learner's heads. */
  judge(judged: NativeJudged): void {
    const { learner, candidateNumber } = judged;
    if (!this.options.holds(learner)) return;
    const state = this.#stateOf(learner);
    if (candidateNumber !== state.candidate) {
      state.candidate = candidateNumber;
      const { trial } = state.guard.state;
      if (candidateNumber > 0 && trial) this.#tell('discarded', learner, trial);
      if (candidateNumber > 0) {
        state.guard.try();
        this.#tell('candidate', learner, { candidate: candidateNumber });
      }
    }
    for (const verdict of state.guard.observe(judged)) {
      this.#queue(() => this.#carryOut(learner, verdict, candidateNumber));
    }
  }

  /** The target's weights are about to move: what tenants remember by now is the last that can be kept. */
  weightsWillMove(): void {
    if (!this.#headStore) return;
    const kept = Array.from(this.#opened.keys(), (tenant) => this.keep(tenant).catch(this.#notKept(tenant)));
    this.#queue(() => Promise.all(kept).then(() => undefined));
  }

  /**
   * The target's weights have moved: what was promoted is a candidate again, and judged anew. What is promoted or remembered from now on
   * is of weights that no file names, and not kept on disk.
   */
  weightsMoved(): void {
    this.#headStore = undefined;
    this.#withHeads.clear();
    for (const [tenant, state] of this.#tenants) {
      const { version } = state;
      Object.assign(state, {
        guard: new Guard(),
        candidate: 0,
        version: 0,
        previous: 0,
        versions: Math.max(version, state.versions),
      });
      if (version > 0) this.#tell('regated', tenant, { version });
    }
  }

  /** Whether what was learned is kept on disk. */
  get keeps(): boolean {
    return this.options.store !== undefined;
  }

  /**
   * Forgets a tenant, and versions of others that learned from it; undefined = all. On disk they are gone when the promise resolves.
   *
   * @throws ForetokenError as {@link SpeculatorStore.forget}
   */
  async forget(tenant: string | undefined): Promise<void> {
    for (const each of tenant === undefined ? [...this.#tenants.keys()] : [tenant]) {
      this.#tenants.delete(each);
      this.#withHeads.delete(each);
    }
    const { store } = this.options;
    if (!store) return;
    for (const each of tenant === undefined ? [...this.#opened.keys()] : [tenant]) {
      const opened = this.#opened.get(each);
      if (opened) this.#opened.set(each, { ...opened, isOpen: true, basis: '' });
    }
    this.#forgotten += 1;
    await new Promise<void>((resolve, reject) => this.#queue(() => store.forget(tenant).then(resolve, reject)));
  }

  /** Waits until what has been judged so far is decided and on disk. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** Waits for what is being decided, then keeps what the tenants of this engine remember. */
  async close(): Promise<void> {
    await this.settled();
    await Promise.all(Array.from(this.#opened.values(), ({ done }) => done));
    for (const tenant of this.#opened.keys()) await this.keep(tenant).catch(this.#notKept(tenant));
  }

  /** Writes down what a tenant remembers, if it is of the weights that what is kept is of. What has made room is on disk alone then. */
  async keep(tenant: string): Promise<void> {
    const { store } = this.options;
    const opened = this.#opened.get(tenant);
    if (!store || !opened?.isOpen) return;
    const { model, dropped, cut, ...memory } = await this.native.memoryOf(tenant, true);
    const basis = cut ? undefined : opened.basis;
    if (dropped) opened.basis = undefined;
    if (memory.tokens.length === 0 || this.#opened.get(tenant) !== opened) return; // forgotten meanwhile
    try {
      if (model !== store.model)
        throw new Error('what is remembered since the weights were updated is of none that a file names');
      const stamp = await store.saveMemory(tenant, memory, basis);
      if (!cut && opened.basis !== undefined) opened.basis = stamp;
    } catch (error) {
      this.#notKept(tenant)(error);
    }
  }

  /** Writes down what tenants have lost to others' text since it was done last. */
  async #keepDropped(): Promise<void> {
    if (!this.options.store) return;
    const { droppedTexts } = callNative(() => this.native.stats());
    if (droppedTexts === this.#dropped) return this.#keepingDropped;
    this.#dropped = droppedTexts;
    this.#queue(async () => {
      for (const learner of await this.native.droppedTenants()) {
        if (this.#opened.has(learner)) await this.keep(learner).catch(this.#notKept(learner));
        else await this.native.memoryOf(learner, true); // a group's
      }
    });
    this.#keepingDropped = this.#work;
    await this.#keepingDropped;
  }

  /** Nothing is held of a learner any more; what is kept of it is found again when it is opened. */
  drop(learner: string): void {
    this.#tenants.delete(learner);
    this.#withHeads.delete(learner);
    this.#opened.delete(learner);
  }

  async #open(tenant: string, opened: Opened): Promise<void> {
    const { store, heads, weights } = this.options;
    if (!store) return;
    const kept = await this.#read(() => keptOf(tenant, store));
    const { live, head } = kept;
    const again = live?.weights !== undefined && live.weights !== weights;
    const restored = this.#remember(tenant, kept, opened);
    const adopted = heads && head !== undefined && this.native.adoptHead(tenant, head, again).then(() => live);
    const [remembers, drafts] = await Promise.allSettled([restored, adopted]);
    const version = drafts.status === 'fulfilled' && drafts.value ? drafts.value.version : 0;
    if (version > 0 && this.#headStore && !again) this.#drafts(tenant, version);
    if (version > 0 && again) this.#tell('regated', tenant, { version, weights: live.weights! });
    for (const part of [remembers, drafts]) if (part.status === 'rejected') throw part.reason;
  }

  /** A tenant's text is there again, beside what was said since it made room. */
  async #restore(tenant: string, opened: Opened): Promise<void> {
    const { store } = this.options;
    if (store) await this.#remember(tenant, await this.#read(() => keptTextOf(tenant, store)), opened);
  }

  async #remember(tenant: string, { memory, stamp }: KeptText, opened: Opened): Promise<void> {
    if (memory) await this.native.restoreMemory(tenant, memory.tokens, memory.keys);
    if (opened.basis !== undefined) opened.basis = stamp; // it may have made room again
  }

  /** What is read from disk, as it is after all decisions so far: what goes while it is being read must not come back. */
  async #read<T>(read: () => Promise<T>): Promise<T> {
    for (;;) {
      const forgotten = this.#forgotten;
      await this.settled();
      const kept = await read();
      if (forgotten === this.#forgotten) return kept;
    }
  }

  async #carryOut(tenant: string, { kind, evidence }: Verdict, candidate: number): Promise<void> {
    const state = this.#tenants.get(tenant);
    if (!state) return; // forgotten meanwhile
    if (kind === 'alarm') return this.#tell('alarm', tenant, evidence);
    const harmful = kind === 'discard' && Number(evidence['gain']) < 0;
    const { done } = await this.native.decide(tenant, harmful ? 'harmful' : kind, candidate);
    if (!done) return;
    if (kind === 'discard') return this.#tell('discarded', tenant, evidence);
    this.options.onHead(tenant);
    const before = state.version;
    const version = await this.#keep(tenant, state, kind, evidence);
    if (this.#tenants.get(tenant) !== state) return;
    this.#drafts(tenant, version);
    state.previous = kind === 'promote' ? before : 0;
    this.#tell(kind === 'promote' ? 'promoted' : 'rolledBack', tenant, evidence);
  }

  /** On disk as in memory; the number of the version that drafts now. */
  async #keep(tenant: string, state: TenantState, kind: 'promote' | 'rollback', evidence: Evidence): Promise<number> {
    const store = groupOf(tenant) === undefined ? this.#headStore : undefined; // groups last as long as the engine
    try {
      if (kind === 'rollback') return store ? (await store.rollBack(tenant, undefined, evidence)).live : state.previous;
      const write = (path: string): Promise<unknown> => this.native.saveHead(tenant, path);
      const { weights } = this.options;
      const head = { origin: 'learned', weights, tenants: [tenant], evidence, write } as const;
      return store ? (await store.promote(tenant, head)).version : (state.versions += 1);
    } catch (error) {
      this.#notKept(tenant)(error);
      return kind === 'rollback' ? state.previous : (state.versions += 1);
    }
  }

  #notKept(tenant: string): (error: unknown) => void {
    return (error) => this.#tell('notKept', tenant, { why: (error as Error).message });
  }

  /** Tells of an error that computing met. Once learning has stopped, what is being judged is decided about by nobody. */
  #tellerOf(kind: 'stopped' | 'onCpu'): (tenant: string, why: Error) => void {
    return (tenant, why) => {
      const { code, message } = ForetokenError.from(why) as ForetokenError;
      this.#tell(kind, tenant, { code, why: message });
    };
  }

  /** A version drafts for a tenant from now on; 0 = the static head. */
  #drafts(tenant: string, version: number): void {
    this.#stateOf(tenant).version = version;
    if (version > 0) this.#withHeads.add(tenant);
    else this.#withHeads.delete(tenant);
  }

  #stateOf(tenant: string): TenantState {
    let state = this.#tenants.get(tenant);
    if (!state) {
      state = { guard: new Guard(), candidate: 0, version: 0, previous: 0, versions: 0 };
      this.#tenants.set(tenant, state);
    }
    return state;
  }

  #tell(kind: LearningEvent['kind'], tenant: string, evidence: Evidence): void {
    const version = this.#tenants.get(tenant)?.version ?? 0;
    this.options.onEvent({ kind, ...whose(tenant), version, evidence });
  }

  #queue(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch(() => undefined); // the engine is closing
  }
}

function isLackOfMemory(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'OUT_OF_MEMORY';
}

async function keptTextOf(tenant: string, store: SpeculatorStore): Promise<KeptText> {
  const stamp = await store.memoryStamp(tenant);
  const path = store.memoryPath(tenant);
  return { memory: path === undefined ? undefined : await readMemory(path, store.model), stamp };
}

async function keptOf(tenant: string, store: SpeculatorStore): Promise<Kept> {
  const text = await keptTextOf(tenant, store);
  const live = liveVersion(await store.manifest(tenant));
  const head = live && store.fileOf(tenant, live);
  return { ...text, live, head: head !== undefined && existsSync(head) ? head : undefined };
}
