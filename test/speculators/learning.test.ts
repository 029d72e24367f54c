import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NativeEngine, NativeJudged } from '../../lib/native';
import type { LearningEvent } from '../../lib/speculators/events';
import { learnerOf } from '../../lib/speculators/groups';
import { Learning } from '../../lib/speculators/learning';
import { readMemory } from '../../lib/speculators/memory';
import type { Memory } from '../../lib/speculators/memory';
import { SpeculatorStore } from '../../lib/speculators/store';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const model = 'e'.repeat(32);

/** Texts of one token each. */
function memory(...texts: string[]): Memory {
  return {
    tokens: Int32Array.from(texts.flatMap((text) => [Number(text), -1])),
    keys: Uint8Array.from(texts.flatMap((text) => new Array<number>(32).fill(Number(text)))),
  };
}

function textsOf({ tokens }: { tokens: Int32Array }): string[] {
  return Array.from(tokens)
    .filter((token) => token >= 0)
    .map(String);
}

/** What the learner of an engine would be asked to do. */
class Recorder {
  readonly asked: string[] = [];
  stop: (tenant: string, why: Error) => void = () => undefined;
  onCpu = this.stop;
  lost = this.stop;
  candidates = new Map<string, number>();
  /** Of the weights that are decoded with. */
  model = model;
  /** What tenants hold in memory, and how often others' text has pushed some of it out. */
  texts = new Map<string, string[]>();
  dropped: string[] = [];
  droppedTexts = 0;
  cut = false;
  /** When what was asked before has been done. */
  settled = (): Promise<void> => Promise.resolve();
  /** What comes of giving a tenant back what it remembered. */
  restores: (() => Promise<void>) | undefined;
  /** What finding again is refused for. */
  refusal: Error | undefined;
  readonly engine = {
    watchLearning: (_: unknown, ...[stop, onCpu, lost]: Recorder['stop'][]) => {
      Object.assign(this, { stop, onCpu, lost });
    },
    decide: (tenant: string, decision: string, candidate: number) => {
      this.asked.push(`${tenant} ${decision} ${candidate}`);
      return Promise.resolve({ done: decision === 'rollback' || this.candidates.get(tenant) === candidate });
    },
    saveHead: (tenant: string, path: string) => {
      writeFileSync(path, `head of ${tenant}`);
      return Promise.resolve({ model: this.model });
    },
    adoptHead: (tenant: string, path: string, again: boolean) => {
      this.asked.push(`${tenant} ${again ? 'judge' : 'adopt'} ${path.replace(/.*head-/, '')}`);
      return this.refusal ? Promise.reject(this.refusal) : Promise.resolve();
    },
    memoryOf: (tenant: string, take: boolean) => {
      const dropped = take && this.dropped.includes(tenant);
      const answer = { ...memory(...(this.texts.get(tenant) ?? ['1'])), model: this.model, dropped, cut: this.cut };
      if (dropped) this.texts.set(tenant, []);
      if (dropped) this.dropped = this.dropped.filter((each) => each !== tenant);
      return Promise.resolve(answer);
    },
    restoreMemory: (tenant: string, tokens: Int32Array) => {
      this.asked.push(`${tenant} restore ${tokens.length}`);
      if (this.restores) return this.restores();
      this.texts.set(tenant, [...(this.texts.get(tenant) ?? []), ...textsOf({ tokens })]);
      return Promise.resolve();
    },
    settled: () => this.settled(),
    stats: () => ({ droppedTexts: this.droppedTexts }),
    droppedTenants: () => Promise.resolve(this.dropped),
  } as unknown as NativeEngine;
}

/** One whose first candidate of a tenant is there when it is decided about. */
function promising(tenant: string): Recorder {
  const recorder = new Recorder();
  recorder.candidates.set(tenant, 1);
  return recorder;
}

/** One that has not done what was asked before until it is told to. */
function heldUp(): { recorder: Recorder; settle: () => void } {
  const recorder = new Recorder();
  let settle: () => void = () => undefined;
  const settled = new Promise<void>((resolve) => (settle = resolve));
  recorder.settled = () => (recorder.asked.push('settled'), settled);
  return { recorder, settle: () => settle() };
}

function judged(learner: string, live: number, candidate: number, number = 1, previous?: number): NativeJudged {
  const all = (accepted: number): Uint8Array => new Uint8Array(64).fill(accepted);
  const none = new Uint8Array(0);
  return {
    learner,
    tenant: learner,
    live: all(live),
    candidate: number > 0 ? all(candidate) : none,
    previous: previous === undefined ? none : all(previous),
    candidateNumber: number,
  };
}

function learning(
  recorder: Recorder,
  store?: SpeculatorStore,
  weights = 'auto',
): { learning: Learning; events: LearningEvent[]; changed: string[] } {
  const events: LearningEvent[] = [];
  const changed: string[] = [];
  const options = {
    heads: true,
    weights,
    store,
    holds: () => true,
    onEvent: (event: LearningEvent) => void events.push(event),
    onHead: (tenant: string) => void changed.push(tenant),
  };
  return { learning: new Learning(recorder.engine, options), events, changed };
}

/** A store in which a head of a tenant was promoted. */
async function withPromoted(tenant: string): Promise<SpeculatorStore> {
  const store = new SpeculatorStore(folder(), model);
  const { learning: first } = learning(promising(tenant), store);
  await first.open(tenant);
  for (let i = 0; i < 100; ++i) first.judge(judged(tenant, 1, 2));
  await first.close();
  return store;
}

async function withImported(tenant: string, tenants: string[]): Promise<SpeculatorStore> {
  const store = new SpeculatorStore(folder(), model);
  await store.saveMemory(tenant, memory('1'));
  const write = (path: string): Promise<void> => Promise.resolve(writeFileSync(path, 'head'));
  await store.promote(tenant, { origin: 'imported', tenants, evidence: {}, write });
  return store;
}

const kinds = (events: LearningEvent[]): string[] => events.map(({ kind, tenant }) => `${tenant} ${kind}`);
test('a better candidate is promoted once, kept on disk with its evidence, and found again', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events, changed } = learning(recorder, store);
  await own.open('a');
  recorder.candidates.set('a', 1);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  await own.close();
  expect(kinds(events)).toEqual(['a candidate', 'a promoted']);
  expect(changed).toEqual(['a']);
  expect(events[1].version).toBe(1);
  expect(events[1].evidence['lowerBound']).toBeGreaterThanOrEqual(0);
  const { versions, live } = await store.manifest('a');
  expect(live).toBe(1);
  expect(versions[0]).toMatchObject({ origin: 'learned', tenants: ['a'], evidence: events[1].evidence });
  expect(recorder.asked).toEqual(['a promote 1']);

  const later = new Recorder();
  const { learning: next } = learning(later, store);
  await Promise.all([next.open('a'), next.open('a'), next.open('b')]);
  expect(later.asked).toEqual(['a restore 2', 'a adopt 1.safetensors']);
  for (let i = 0; i < 40; ++i) next.judge(judged('a', 0, 0, 0, 3));
  await next.close();
  expect(later.asked.at(-1)).toBe('a rollback 0');
  expect((await store.manifest('a')).live).toBe(0);
});

test('a head of another format of the weights is judged again, then drafts or is given up', async () => {
  const store = await withPromoted('a');
  expect((await store.manifest('a')).versions[0].weights).toBe('auto');
  for (const isBetter of [false, true]) {
    const recorder = promising('a');
    const { learning: own, events } = learning(recorder, store, 'nvfp4');
    await own.open('a');
    expect(recorder.asked).toEqual(['a restore 2', 'a judge 1.safetensors']);
    expect(events).toEqual([{ kind: 'regated', tenant: 'a', version: 0, evidence: { version: 1, weights: 'auto' } }]);
    for (let i = 0; i < 100; ++i) own.judge(judged('a', isBetter ? 1 : 2, isBetter ? 2 : 1));
    await own.close();
    expect(recorder.asked.at(-1)).toBe(isBetter ? 'a promote 1' : 'a harmful 1');
    expect(kinds(events).at(-1)).toBe(isBetter ? 'a promoted' : 'a discarded');
    expect((await store.manifest('a')).live).toBe(isBetter ? 2 : 1); // who decodes with the other format goes on with what it had
  }
  expect((await store.manifest('a')).versions[1]).toMatchObject({ parent: 1, weights: 'nvfp4' });
});

test('one that is worse is given up for good, and what came too late changes nothing', async () => {
  const recorder = new Recorder();
  const { learning: own, events } = learning(recorder);
  recorder.candidates.set('a', 1);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 2, 1));
  await own.settled();
  expect(recorder.asked).toEqual(['a harmful 1']);
  expect(kinds(events)).toEqual(['a candidate', 'a discarded']);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2, 2)); // the native side is at another one already
  await own.settled();
  expect(recorder.asked.at(-1)).toBe('a promote 2');
  expect(kinds(events).slice(2)).toEqual(['a candidate']);
});

test('after an update of the weights what was promoted is judged again, and nothing more is kept on disk', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  recorder.candidates.set('a', 1);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  await own.settled();
  own.weightsMoved();
  expect(events.at(-1)).toEqual({ kind: 'regated', tenant: 'a', version: 0, evidence: { version: 1 } });
  recorder.candidates.set('a', 2);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2, 2));
  await own.settled();
  expect(kinds(events)).toEqual(['a candidate', 'a promoted', 'a regated', 'a candidate', 'a promoted']);
  expect(events.at(-1)!.version).toBe(2);
  await own.close();
  expect((await store.manifest('a')).versions).toHaveLength(1);
  own.weightsMoved();
  expect(events.at(-1)).toMatchObject({ kind: 'regated', tenant: 'a', evidence: { version: 2 } });
});

test('what is remembered of updated weights does not take the place of what was kept of those that the file holds', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  own.weightsWillMove();
  await own.settled();
  const path = store.memoryPath('a')!;
  const kept = readFileSync(path);
  expect(events).toEqual([]);
  recorder.model = 'f'.repeat(32);
  own.weightsMoved();
  await own.open('b');
  own.weightsWillMove();
  await own.close();
  expect(readFileSync(path).equals(kept)).toBe(true);
  expect(store.memoryPath('b')).toBeUndefined();
  expect(kinds(events)).toEqual(['a notKept', 'b notKept']);
  expect(events[0].evidence['why']).toContain('weights were updated');
});

test('what others push out of memory is on disk before it is found again, and no save takes it from there', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  const onDisk = async (): Promise<string[]> => textsOf(await readMemory(store.memoryPath('a')!, model));
  const pushOut = (tenant: string): void => {
    recorder.dropped.push(tenant);
    recorder.droppedTexts += 1;
  };
  await store.saveMemory('a', memory('1', '2'));
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  recorder.texts.get('a')!.push('3');
  pushOut('a');
  pushOut('\0group');
  await own.open('b');
  expect(await onDisk()).toEqual(['1', '2', '3']);
  expect(recorder.dropped).toEqual([]);
  recorder.texts.set('a', ['4']); // of a request that was running
  await own.keep('a');
  expect(await onDisk()).toEqual(['1', '2', '3', '4']);
  await own.open('a');
  await own.open('a');
  expect(recorder.asked).toEqual(['a restore 4', 'a restore 8']);
  pushOut('a');
  await own.open('\0group');
  recorder.texts.set('a', ['5']);
  await own.close();
  expect((await onDisk()).sort()).toEqual(['1', '2', '3', '4', '4', '5']);
  expect(events).toEqual([]);
});

test.each([
  [
    'another engine has saved meanwhile',
    async (store: SpeculatorStore) => void (await store.saveMemory('a', memory('2'))),
  ],
  ['the tenant has pushed out itself', (_: unknown, recorder: Recorder) => void (recorder.cut = true)],
])('a file whose text is not in memory is added to where %s', async (_, happens) => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  await store.saveMemory('a', memory('1', '2'));
  const { learning: own } = learning(recorder, store);
  await own.open('a');
  await happens(store, recorder);
  recorder.texts.set('a', ['1', '3']);
  await own.keep('a');
  await own.close();
  expect(textsOf(await readMemory(store.memoryPath('a')!, model))).toEqual(['2', '1', '3']);
});

test('what another process has removed stays removed, also where others have pushed out what was in memory', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  await store.saveMemory('a', memory('1', '2'));
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  recorder.dropped.push('a');
  recorder.droppedTexts += 1;
  await own.open('b');
  recorder.texts.set('a', ['3']);
  await own.keep('a');
  await new SpeculatorStore(folder(), model).forget('a');
  await expect(own.keep('a')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  await own.open('a');
  await own.close();
  expect(store.memoryPath('a')).toBeUndefined();
  expect(kinds(events)).toEqual(['a notKept', 'a notKept']);
});

test('text that its own bound has pushed out of memory goes from disk as well, and so does what is forgotten', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  await store.saveMemory('a', memory('1', '2'));
  const { learning: own } = learning(recorder, store);
  await own.open('a');
  recorder.texts.set('a', ['2', '3']);
  await own.keep('a');
  expect(textsOf(await readMemory(store.memoryPath('a')!, model))).toEqual(['2', '3']);
  const keeping = own.keep('a');
  void own.forget('a');
  await keeping;
  await own.settled();
  expect(store.memoryPath('a')).toBeUndefined();
});

test('what is being written down when it is forgotten is not on disk afterwards', async () => {
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events } = learning(new Recorder(), store);
  await own.open('a');
  let write = (): void => undefined;
  const writing = new Promise<void>((begun) => {
    const save = store.saveMemory.bind(store);
    store.saveMemory = async (...given) => {
      begun();
      await new Promise<void>((resolve) => (write = resolve));
      return save(...given);
    };
  });
  const keeping = own.keep('a');
  await writing;
  const forgetting = own.forget('a');
  await Promise.race([forgetting, sleep(200)]); // it may be done before
  write();
  await Promise.all([keeping, forgetting]);
  expect(await store.tenants()).toEqual([]);
  expect(events).toEqual([]);
});

test('what can not be written down is told, and whoever wanted to let go of it is refused', async () => {
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events } = learning(new Recorder(), store);
  await own.open('a');
  writeFileSync(join(folder(), 'speculators'), 'a file where the folder should be');
  await expect(own.keep('a')).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  expect(kinds(events)).toEqual(['a notKept']);
  await own.close();
  expect(kinds(events)).toEqual(['a notKept', 'a notKept']);
});

test('a tenant whose head is refused has no version of its own', async () => {
  const store = await withPromoted('a');
  const recorder = promising('a');
  recorder.refusal = Object.assign(new Error('made for another head'), { code: 'HEAD_MISMATCH' });
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  expect(recorder.asked).toEqual(['a restore 2', 'a adopt 1.safetensors']);
  expect(events).toEqual([{ kind: 'notKept', tenant: 'a', version: 0, evidence: { why: 'made for another head' } }]);
  own.judge(judged('a', 1, 2));
  expect(events.at(-1)).toMatchObject({ kind: 'candidate', version: 0 });
  expect(own.withHeads.size).toBe(0);
  own.weightsMoved();
  expect(kinds(events)).toEqual(['a notKept', 'a candidate']); // nothing of its own has to be judged again
  await own.close();
});

test('where memory is lacking to find it again what is kept stays, and the next request tries again', async () => {
  const store = await withPromoted('a');
  const recorder = new Recorder();
  recorder.refusal = Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' });
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  expect(kinds(events)).toEqual(['a notKept']);
  recorder.refusal = undefined;
  await own.open('a');
  await own.open('a');
  expect(recorder.asked.filter((what) => what.startsWith('a adopt'))).toHaveLength(2);
  expect([...own.withHeads]).toEqual(['a']);
});

test('who taught a head stays known where it is there already, and there is no memory to take it once more', async () => {
  const store = await withImported('a', ['a', 'b']);
  const recorder = new Recorder();
  const lacking = Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' });
  const { learning: own } = learning(recorder, store);
  recorder.restores = () => Promise.reject(lacking);
  await own.open('a');
  recorder.refusal = lacking;
  await own.open('a');
  expect(own.taughtBy('b')).toEqual(['a']);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  recorder.candidates.set('a', 1);
  await own.settled();
  expect((await store.manifest('a')).versions.at(-1)).toMatchObject({ parent: 1, tenants: ['a', 'b'] });
});

test('what is said before there is memory to find a tenant again is kept beside what was', async () => {
  const store = new SpeculatorStore(folder(), model);
  const first = new Recorder();
  const { learning: before } = learning(first, store);
  await before.open('a');
  first.texts.set('a', ['5']);
  await before.close();
  const recorder = new Recorder();
  recorder.restores = () => Promise.reject(Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' }));
  const { learning: own } = learning(recorder, store);
  await own.open('a');
  recorder.texts.set('a', ['9']);
  await own.close();
  expect(textsOf(await readMemory(store.memoryPath('a')!, model))).toEqual(['5', '9']);
});

test('a head that was saved for other weights than it was promoted with is not kept', async () => {
  const recorder = promising('a');
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  recorder.model = 'f'.repeat(32);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  await own.settled();
  expect(kinds(events)).toEqual(['a candidate', 'a notKept', 'a promoted']);
  expect((await store.manifest('a')).versions).toEqual([]);
});

test('a head that is found again comes to the learner behind what dropped it before', async () => {
  const store = await withPromoted('a');
  const { recorder, settle } = heldUp();
  const { learning: own } = learning(recorder, store);
  const opened = own.open('a');
  while (!recorder.asked.includes('settled')) await sleep(1);
  await sleep(10);
  expect(recorder.asked.filter((what) => what.includes('adopt'))).toEqual([]);
  settle();
  await opened;
  expect(recorder.asked.at(-1)).toBe('a adopt 1.safetensors');
});

test.each([
  ['itself', (own: Learning) => own.forget('a')],
  ['one that taught it', (own: Learning) => Promise.resolve(own.taughtBy('b').forEach((each) => own.drop(each)))],
])('a head that is being found again is not taken where %s is forgotten', async (_, forget) => {
  const store = await withImported('a', ['a', 'b']);
  const { recorder, settle } = heldUp();
  const { learning: own, events } = learning(recorder, store);
  const opened = own.open('a');
  while (!recorder.asked.includes('settled')) await sleep(1);
  const forgotten = forget(own);
  settle();
  await opened;
  await forgotten;
  expect(recorder.asked.filter((what) => what.includes('adopt'))).toEqual([]);
  expect(own.withHeads.size + own.taughtBy('b').length + events.length).toBe(0);
});

test('what is decided about one tenant does not depend on another', async () => {
  const run = async (withB: boolean): Promise<LearningEvent[]> => {
    const recorder = new Recorder();
    const { learning: own, events } = learning(recorder);
    recorder.candidates.set('a', 1);
    for (let i = 0; i < 60; ++i) {
      own.judge(judged('a', 1 + (i % 2), 2 - (i % 3 === 0 ? 1 : 0)));
      if (withB) own.judge(judged('b', 3, 0, 7));
      if (withB && i === 30) void own.forget('b');
    }
    await own.settled();
    return events.filter(({ tenant }) => tenant === 'a');
  };
  const alone = await run(false);
  expect(alone.length).toBeGreaterThan(0);
  expect(await run(true)).toEqual(alone);
});

test('a group has a candidate promoted if none of its members loses, each by its own texts', async () => {
  const learner = learnerOf('a', 'g');
  for (const [ofC, expected] of [
    [7, ['g candidate', 'g promoted']],
    [1, ['g candidate']],
  ] as const) {
    const recorder = promising(learner);
    const { learning: own, events } = learning(recorder);
    for (let i = 0; i < 100; ++i) {
      for (const [tenant, right] of [
        ['a', 7],
        ['b', 7],
        ['c', ofC],
      ] as const)
        // prettier-ignore
        own.judge({ ...judged(learner, 2, right), tenant });
    }
    await own.settled();
    expect(kinds(events)).toEqual(expected);
    if (events.length > 1) expect(events[1]).toMatchObject({ group: true, evidence: { tenants: 3 } });
  }
});

test('forgetting a tenant drops what was kept, and a decision on its way comes too late', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  const { learning: own, events } = learning(recorder, store);
  recorder.candidates.set('a', 1);
  await store.saveMemory('a', { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) });
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  void own.forget('a');
  await own.close();
  expect(kinds(events)).toEqual(['a candidate']);
  expect(await store.tenants()).toEqual([]);
});

test('a verdict on what was forgotten says nothing about a candidate of the same number that came after', async () => {
  const recorder = promising('a');
  const { learning: own, events } = learning(recorder);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  void own.forget('a');
  own.judge(judged('a', 1, 2));
  await own.settled();
  expect(recorder.asked).toEqual([]);
  expect(kinds(events)).toEqual(['a candidate', 'a candidate']);
});

test('forgetting a group looks at nothing on disk, where none of it ever was', async () => {
  const store = new SpeculatorStore(folder(), model);
  const forget = jest.spyOn(store, 'forget');
  const { learning: own } = learning(promising('\0team'), store);
  for (let i = 0; i < 100; ++i) own.judge(judged('\0team', 1, 2));
  await own.settled();
  expect([...own.withHeads]).toEqual(['\0team']);
  await own.forget('\0team');
  expect(own.withHeads.size).toBe(0);
  expect(forget).not.toHaveBeenCalled();
});

test("whose heads have learned from a tenant's text is known, of what was imported and of what was learned from that", async () => {
  const store = new SpeculatorStore(folder(), model);
  const write = (path: string): Promise<void> => Promise.resolve(writeFileSync(path, 'head'));
  await store.promote('b', { origin: 'imported', tenants: ['a', 'b'], evidence: {}, write });
  await store.promote('c', { origin: 'imported', tenants: ['c'], evidence: {}, write });
  const { learning: own } = learning(promising('b'), store);
  await Promise.all(['a', 'b', 'c'].map((tenant) => own.open(tenant)));
  expect(own.taughtBy('a')).toEqual(['b']);
  await store.rollBack('b', 0);
  for (let i = 0; i < 100; ++i) own.judge(judged('b', 1, 2));
  await own.settled();
  expect((await store.manifest('b')).versions.at(-1)).toMatchObject({ version: 2, parent: 1, tenants: ['a', 'b'] });
  expect(own.taughtBy('a')).toEqual(['b']);
  expect(own.taughtBy('b')).toEqual([]);
});

test('what is forgotten while it is being found again stays forgotten', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  const memory = { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) };
  for (const tenant of ['a', 'b', 'c']) await store.saveMemory(tenant, memory);
  const { learning: own } = learning(recorder, store);
  const opening = own.open('a');
  void own.forget('a');
  await opening;
  void own.forget('b');
  await own.open('b'); // before its files are gone
  await own.open('c');
  expect(recorder.asked).toEqual(['c restore 2']);
});

test('where what was kept cannot be read the tenant begins anew, and it is told', async () => {
  const recorder = new Recorder();
  const store = new SpeculatorStore(folder(), model);
  await store.saveMemory('a', { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) });
  writeFileSync(store.memoryPath('a')!, 'cut');
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  expect(recorder.asked).toEqual([]);
  expect(events).toMatchObject([{ kind: 'notKept', tenant: 'a' }]);
  expect(events[0].evidence['why']).toContain(store.memoryPath('a'));
});

test('what is to be forgotten goes, whatever state the files of others are in; what could not be looked at is told', async () => {
  const store = await withPromoted('a');
  const spoilt = join(dirname(store.fileOf('b', (await store.manifest('a')).versions[0])), 'manifest.json');
  await store.saveMemory('b', { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) });
  writeFileSync(spoilt, '{');
  const { learning: own, events } = learning(new Recorder(), store);
  const refused = { code: 'MANIFEST_INVALID', message: expect.stringContaining(spoilt) as string };
  await expect(own.forget('a')).rejects.toMatchObject(refused);
  expect(store.memoryPath('a')).toBeUndefined();
  expect((await store.manifest('a')).versions).toEqual([]);
  await own.forget(undefined);
  expect(store.memoryPath('b')).toBeUndefined();
  expect(events).toEqual([]);
});

test('who goes back to a version that is nowhere on disk is told its number', async () => {
  const recorder = promising('a');
  const { learning: own, events } = learning(recorder);
  for (const candidate of [1, 2]) {
    recorder.candidates.set('a', candidate);
    for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2, candidate));
    await own.settled();
  }
  for (let i = 0; i < 40 && events.at(-1)!.kind !== 'rolledBack'; ++i) {
    own.judge(judged('a', 0, 0, 0, 3));
    await own.settled();
  }
  const decided = events.filter(({ kind }) => kind !== 'candidate' && kind !== 'alarm');
  expect(decided.map(({ kind, version }) => `${kind} ${version}`)).toEqual([
    'promoted 1',
    'promoted 2',
    'rolledBack 1',
  ]);
});

/** An engine whose heads were promoted one after the other, and what makes it go back to the one before. */
async function promoted(
  store: SpeculatorStore,
  candidates: number[],
): Promise<{ events: LearningEvent[]; promote: (candidate: number) => Promise<void>; goBack: () => Promise<void> }> {
  const recorder = new Recorder();
  const { learning: own, events } = learning(recorder, store);
  await own.open('a');
  const promote = async (candidate: number): Promise<void> => {
    recorder.candidates.set('a', candidate);
    for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2, candidate));
    await own.settled();
    expect(events.at(-1)!.kind).toBe('promoted');
  };
  for (const candidate of candidates) await promote(candidate);
  const goBack = async (): Promise<void> => {
    for (let i = 0; i < 40 && events.at(-1)!.kind !== 'rolledBack'; ++i) {
      own.judge(judged('a', 0, 0, 0, 3));
      await own.settled();
    }
    expect(events.at(-1)!.kind).toBe('rolledBack');
  };
  return { events, promote, goBack };
}

test('who goes back in memory goes back on disk to the same version', async () => {
  const store = new SpeculatorStore(folder(), model);
  const { events, goBack } = await promoted(store, [1, 2]);
  await goBack();
  expect(events.at(-1)!.version).toBe(1);
  const { live, versions } = await store.manifest('a');
  expect(live).toBe(1);
  expect(versions[1].rolledBack).toMatchObject({ evidence: events.at(-1)!.evidence });
});

test('who goes back leaves alone what another engine has made live meanwhile, and learns on from its own', async () => {
  const store = new SpeculatorStore(folder(), model);
  const { events, promote, goBack } = await promoted(store, [1]);
  await promoted(store, [1]);
  expect(await store.manifest('a')).toMatchObject({ live: 2, versions: [{ parent: 0 }, { parent: 1 }] });
  await goBack();
  expect(events.at(-1)!.version).toBe(0);
  expect((await store.manifest('a')).live).toBe(2);
  await promote(2);
  expect(events.at(-1)!.version).toBe(3);
  expect((await store.manifest('a')).versions[2]).toMatchObject({ version: 3, parent: 0, tenants: ['a'] });
});

test('where a promotion could not be kept, going back leaves on disk what was live there', async () => {
  const store = new SpeculatorStore(folder(), model);
  const promote = jest.spyOn(store, 'promote');
  promote.mockImplementationOnce((...given) => SpeculatorStore.prototype.promote.apply(store, given));
  promote.mockRejectedValueOnce(new Error('full'));
  const { events, goBack } = await promoted(store, [1, 2]);
  expect(kinds(events).slice(-2)).toEqual(['a notKept', 'a promoted']);
  expect(events.at(-1)!.version).toBe(2);
  await goBack();
  expect(events.at(-1)!.version).toBe(1);
  expect((await store.manifest('a')).live).toBe(1);
});

test('where computing fails an event says so with its code, and what was promoted goes on drafting', async () => {
  const recorder = promising('a');
  const { learning: own, events } = learning(recorder);
  for (let i = 0; i < 100; ++i) own.judge(judged('a', 1, 2));
  await own.settled();
  recorder.stop('a', Object.assign(new Error('the device was lost'), { code: 'CUDA_ERROR' }));
  const evidence = { code: 'CUDA_ERROR', why: 'the device was lost' };
  expect(events.at(-1)).toEqual({ kind: 'stopped', tenant: 'a', version: 1, evidence });
  recorder.stop('new', Object.assign(new Error('?'), { code: 'INTERNAL_ERROR' }));
  expect(events.at(-1)).toMatchObject({ kind: 'stopped', tenant: 'new', version: 0 });
  await own.close();
});

test.each([
  ['the CPU takes the steps of layers in place of a device', 'onCpu'],
  ['lack of memory costs what was being learned', 'lost'],
] as const)('where %s, an event says why', async (_, kind) => {
  const recorder = promising('a');
  const { learning: own, events } = learning(recorder);
  recorder[kind]('a', Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' }));
  const evidence = { code: 'OUT_OF_MEMORY', why: 'no memory left' };
  expect(events).toEqual([{ kind, tenant: 'a', version: 0, evidence }]);
  await own.close();
});
