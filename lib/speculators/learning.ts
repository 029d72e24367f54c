import { existsSync } from 'node:fs';
import { ForetokenError, callNative, isLackOfMemory } from '../error';
import { groupOf, whose } from './groups';
import type { NativeEngine, NativeJudged, NativeMemory } from '../native';
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

/** A head that drafts, or did. */
interface Head {
  /** 0 = the static head. */
  version: number;
  /** The version on disk that it is or, where it could not be kept, was learned from. */
  kept: number;
  /** Tenants whose text it has learned from. */
  tenants: readonly string[];
}

const staticHead: Head = { version: 0, kept: 0, tenants: [] };

/** How learning stands with one tenant. */
interface TenantState {
  guard: Guard;
  /** Number of the candidate that is or was judged last. */
  candidate: number;
  /** The head that drafts. */
  live: Head;
  /** The one that drafted before it. */
  previous: Head;
  /** The one that learning went on from: the one that drafts, or one that has to be judged again. */
  base: Head;
  /** Versions so far, where none are kept on disk. */
  versions: number;
}

/** A tenant of whom what was kept is there, or is being found again. */
interface Opened {
  done: Promise<void>;
  /** Whether it has been found again, or begun anew. */
  isOpen: boolean;
  /** Whether there was no memory for what is on disk: it is looked for again. */
  again: boolean;
  /** The stamp of the file whose text is all in memory; undefined: what made room for others' text is on disk alone. */
  basis: string | undefined;
  /** Whether text of its has been in a file that this engine has read or written. */
  isKept: boolean;
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
  /** Decisions, what is written down, and deletions, one after the other, as the native engine is asked for them. */
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
    if (!options.heads) return;
    const [onStopped, onCpu, onLost] = (['stopped', 'onCpu', 'lost'] as const).map((kind) => this.#tellerOf(kind));
    native.watchLearning((judged) => this.judge(judged), onStopped, onCpu, onLost);
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
    if (!known || known.again) return this.#openFirst(learner);
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
    const opened: Opened = { done: Promise.resolve(), isOpen: false, again: false, basis: '', isKept: false };
    const failed = (error: unknown): void => {
      this.#notKept(tenant)(error);
      opened.again = isLackOfMemory(error);
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
      void this.#queue(() => this.#carryOut(learner, state, verdict, candidateNumber)).catch(passOver);
    }
  }

  /** The target's weights are about to move: what tenants remember by now is the last that can be kept. */
  weightsWillMove(): void {
    if (!this.#headStore) return;
    for (const tenant of this.#opened.keys()) void this.keep(tenant).catch(passOver);
  }

  /**
   * The target's weights have moved: what was promoted is a candidate again, and judged anew. What is promoted or remembered from now on
   * is of weights that no file names, and not kept on disk.
   */
  weightsMoved(): void {
    this.#headStore = undefined;
    this.#withHeads.clear();
    for (const [tenant, { live, base, versions }] of this.#tenants) {
      const { version } = live;
      const going = { base: version > 0 ? live : base, versions: Math.max(version, versions) };
      this.#tenants.set(tenant, { ...newState(), ...going });
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
    const isGroup = tenant !== undefined && groupOf(tenant) !== undefined;
    if (!store || isGroup) return; // nothing of a group is kept
    for (const each of tenant === undefined ? [...this.#opened.keys()] : [tenant]) {
      const opened = this.#opened.get(each);
      if (opened) this.#opened.set(each, { ...opened, isOpen: true, basis: '', isKept: false });
    }
    this.#forgotten += 1;
    await this.#queue(() => store.forget(tenant));
  }

  /** Other tenants whose heads in memory have learned from a tenant's text: such as were imported. */
  taughtBy(tenant: string): string[] {
    return Array.from(this.#tenants)
      .filter(([, { live, previous, base }]) => [live, previous, base].some(({ tenants }) => tenants.includes(tenant)))
      .map(([each]) => each)
      .filter((each) => each !== tenant);
  }

  /** Waits until what has been judged so far is decided and on disk, and so is what has made room for others' text. */
  async settled(): Promise<void> {
    await this.#keepingDropped;
    await this.#work;
  }

  /** Waits for what is being decided, then keeps what the tenants of this engine remember. */
  async close(): Promise<void> {
    await this.settled();
    await Promise.all(Array.from(this.#opened.values(), ({ done }) => done));
    for (const tenant of this.#opened.keys()) await this.keep(tenant).catch(passOver);
  }

  /**
   * Writes down what a tenant remembers now, if it is of the weights that what is kept is of. What has made room is on disk alone then.
   * Text that is forgotten meanwhile is deleted after it was written.
   *
   * @throws What taking and writing it throw; an event has told then.
   */
  async keep(tenant: string): Promise<void> {
    const { store } = this.options;
    const opened = this.#opened.get(tenant);
    if (!store || !opened?.isOpen) return;
    try {
      const taken = this.native.memoryOf(tenant, true);
      taken.catch(passOver); // whose turn comes later
      await this.#queue(async () => this.#write(tenant, store, opened, await taken));
    } catch (error) {
      this.#notKept(tenant)(error);
      throw error;
    }
  }

  async #write(tenant: string, store: SpeculatorStore, opened: Opened, taken: NativeMemory): Promise<void> {
    const { model, dropped, cut, ...memory } = taken;
    const basis = cut ? undefined : opened.basis;
    if (dropped) opened.basis = undefined;
    if (memory.tokens.length === 0) return;
    if (model !== store.model) {
      const why = 'what is remembered since the weights were updated is of none that a file names';
      return this.#notKept(tenant)(new Error(why));
    }
    const stamp = await store.saveMemory(tenant, memory, basis, opened.isKept);
    opened.isKept = true;
    if (!cut && opened.basis !== undefined) opened.basis = stamp;
  }

  /** Writes down what tenants have lost to others' text since it was done last. */
  async #keepDropped(): Promise<void> {
    if (!this.options.store) return;
    const { droppedTexts } = callNative(() => this.native.stats());
    if (droppedTexts !== this.#dropped) {
      this.#dropped = droppedTexts;
      this.#keepingDropped = this.#keepingDropped.then(() => this.#takeDropped()).catch(passOver);
    }
    await this.#keepingDropped;
  }

  async #takeDropped(): Promise<void> {
    for (const learner of await this.native.droppedTenants()) {
      if (this.#opened.has(learner)) await this.keep(learner).catch(passOver);
      else await this.native.memoryOf(learner, true); // a group's
    }
  }

  /** Nothing is held of a learner any more; what is kept of it is found again when it is opened. */
  drop(learner: string): void {
    this.#tenants.delete(learner);
    this.#withHeads.delete(learner);
    this.#opened.delete(learner);
  }

  async #open(tenant: string, opened: Opened): Promise<void> {
    const { store } = this.options;
    if (store)
      await this.#read(
        () => keptOf(tenant, store),
        (kept) => this.#findAgain(tenant, kept, opened),
      );
  }

  /** What a tenant remembered and what it drafted with are there again, or one of both where the other is refused. */
  async #findAgain(tenant: string, kept: Kept, opened: Opened): Promise<void> {
    const { heads, weights } = this.options;
    const { live, head } = kept;
    const again = live?.weights !== undefined && live.weights !== weights;
    const restored = this.#remember(tenant, kept, opened);
    const adopted = heads && live && head !== undefined && this.#adopt(tenant, live, head, again, opened);
    for (const part of await Promise.allSettled([restored, adopted])) if (part.status === 'rejected') throw part.reason;
  }

  /** Learning goes on from a version that was kept, which drafts or, `again`, has to be judged first: unless it is forgotten meanwhile. */
  async #adopt(tenant: string, kept: HeadVersion, path: string, again: boolean, opened: Opened): Promise<void> {
    const { version, tenants, weights } = kept;
    const isHeld = (): boolean => this.#opened.get(tenant) === opened;
    const head = { version, kept: version, tenants };
    const state = this.#stateOf(tenant);
    const before = state.base;
    state.base = head; // from now on, whoever forgets one that taught it drops it
    try {
      // What dropped the tenant before is still on its way to the learner, and must not withdraw the head that comes now.
      await this.native.settled();
      if (!isHeld()) return;
      await this.native.adoptHead(tenant, path, again);
    } catch (error) {
      if (state.base === head) state.base = before;
      throw error;
    }
    if (!isHeld()) return;
    if (this.#headStore && !again) this.#drafts(tenant, head);
    this.#stateOf(tenant).base = head;
    if (again) this.#tell('regated', tenant, { version, weights: weights! });
  }

  /** A tenant's text is there again, beside what was said since it made room. */
  async #restore(tenant: string, opened: Opened): Promise<void> {
    const { store } = this.options;
    if (store)
      await this.#read(
        () => keptTextOf(tenant, store),
        (kept) => this.#remember(tenant, kept, opened),
      );
  }

  async #remember(tenant: string, { memory, stamp }: KeptText, opened: Opened): Promise<void> {
    opened.isKept ||= stamp !== '';
    if (memory) await this.native.restoreMemory(tenant, memory.tokens, memory.keys);
    if (opened.basis !== undefined) opened.basis = stamp; // it may have made room again
  }

  /** Uses what is on disk, as it is after all decisions so far: what goes while it is being read must not come back. */
  async #read<T>(read: () => Promise<T>, use: (kept: T) => Promise<void>): Promise<void> {
    for (;;) {
      const forgotten = this.#forgotten;
      await this.settled();
      const kept = await read();
      if (forgotten === this.#forgotten) return use(kept);
    }
  }

  /** A verdict is about a state: of who was forgotten, or judged with weights that have moved, it says nothing about what came after. */
  async #carryOut(tenant: string, state: TenantState, { kind, evidence }: Verdict, candidate: number): Promise<void> {
    const isOver = (): boolean => this.#tenants.get(tenant) !== state;
    if (isOver()) return;
    if (kind === 'alarm') return this.#tell('alarm', tenant, evidence);
    const harmful = kind === 'discard' && Number(evidence['gain']) < 0;
    const { done } = await this.native.decide(tenant, harmful ? 'harmful' : kind, candidate);
    if (!done || isOver()) return;
    await this.native.settled(); // whoever is told finds it counted
    if (isOver()) return;
    if (kind === 'discard') return this.#tell('discarded', tenant, evidence);
    this.options.onHead(tenant);
    const isPromoted = kind === 'promote';
    const next = await (isPromoted ? this.#promote(tenant, state, evidence) : this.#rollBack(tenant, state, evidence));
    if (isOver()) return;
    state.previous = isPromoted ? state.live : staticHead;
    this.#drafts(tenant, next);
    this.#tell(isPromoted ? 'promoted' : 'rolledBack', tenant, evidence);
  }

  /** What was promoted in memory, on disk as well. */
  async #promote(tenant: string, state: TenantState, evidence: Evidence): Promise<Head> {
    const { base, live } = state;
    const tenants = [...new Set([...base.tenants, tenant])];
    const write = async (path: string): Promise<void> => {
      const { model } = await this.native.saveHead(tenant, path);
      if (model !== this.options.store?.model) throw new Error('the weights have been updated since it was promoted');
    };
    const { weights } = this.options;
    try {
      const head = { origin: 'learned', parent: base.kept, weights, tenants, evidence, write } as const;
      const kept = await this.#headStoreOf(tenant)?.promote(tenant, head);
      if (kept) return { version: kept.version, kept: kept.version, tenants };
    } catch (error) {
      this.#notKept(tenant)(error);
    }
    state.versions = Math.max(state.versions, live.version) + 1;
    return { version: state.versions, kept: base.kept, tenants };
  }

  /** Disk goes where memory went, unless another head is live there. */
  async #rollBack(tenant: string, { live, previous }: TenantState, evidence: Evidence): Promise<Head> {
    const store = live.kept === previous.kept ? undefined : this.#headStoreOf(tenant);
    await store?.rollBack(tenant, previous.kept, evidence, live.kept).catch(this.#notKept(tenant));
    return previous;
  }

  /** Groups last as long as the engine. */
  #headStoreOf(learner: string): SpeculatorStore | undefined {
    return groupOf(learner) === undefined ? this.#headStore : undefined;
  }

  #notKept(tenant: string): (error: unknown) => void {
    return (error) => this.#tell('notKept', tenant, { why: (error as Error).message });
  }

  /** Tells of an error that computing met. Once learning has stopped, what is being judged is decided about by nobody. */
  #tellerOf(kind: 'stopped' | 'onCpu' | 'lost'): (tenant: string, why: Error) => void {
    return (tenant, why) => {
      const { code, message } = ForetokenError.from(why) as ForetokenError;
      this.#tell(kind, tenant, { code, why: message });
    };
  }

  /** A head drafts for a tenant from now on, and is learned from. */
  #drafts(tenant: string, head: Head): void {
    Object.assign(this.#stateOf(tenant), { live: head, base: head });
    if (head.version > 0) this.#withHeads.add(tenant);
    else this.#withHeads.delete(tenant);
  }

  #stateOf(tenant: string): TenantState {
    let state = this.#tenants.get(tenant);
    if (!state) this.#tenants.set(tenant, (state = newState()));
    return state;
  }

  #tell(kind: LearningEvent['kind'], tenant: string, evidence: Evidence): void {
    const version = this.#tenants.get(tenant)?.live.version ?? 0;
    this.options.onEvent({ kind, ...whose(tenant), version, evidence });
  }

  /** Runs `work` behind all that was queued before. */
  #queue(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work);
    this.#work = done.catch(passOver); // whoever queued it hears of it
    return done;
  }
}

function newState(): TenantState {
  return { guard: new Guard(), candidate: 0, live: staticHead, previous: staticHead, base: staticHead, versions: 0 };
}

/** Takes an error that an event has told, or that only an engine which is closing meets. */
function passOver(): void {
  // nothing else depends on it
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
