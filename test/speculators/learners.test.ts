import { Groups, learnerOf } from '../../lib/speculators/groups';
import { Learners } from '../../lib/speculators/learners';

/** A sequence of numbers that looks random and is the same in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Learners of whom something is held, as whoever holds it sees them. */
class Held {
  readonly there = new Set<string>();
  readonly kept = new Set<string>();
  readonly heads = new Set<string>();
  readonly running = new Map<string, number>();
  readonly learners: Learners;
  /** Dropped while a request of theirs ran, or without having been written down. */
  wrong = 0;
  /** Whether keeping takes its time, or fails. */
  keeps: (learner: string) => Promise<void> = () => Promise.resolve();

  constructor(most: { learners: number; heads: number }) {
    this.learners = new Learners({
      most,
      withHeads: () => this.heads,
      keep: async (learner) => {
        await this.keeps(learner);
        this.kept.add(learner);
      },
      drop: (learner) => {
        if ((this.running.get(learner) ?? 0) > 0 || !this.kept.has(learner)) this.wrong += 1;
        this.there.delete(learner);
        this.heads.delete(learner);
      },
    });
  }

  async enter(learner: string): Promise<() => void> {
    const left = await this.learners.enter(learner);
    this.kept.delete(learner);
    this.there.add(learner);
    this.running.set(learner, (this.running.get(learner) ?? 0) + 1);
    return () => {
      this.running.set(learner, this.running.get(learner)! - 1);
      left();
    };
  }
}

test('however many learners come, those that are held stay bounded, and none that has requests running is let go of', async () => {
  for (let seed = 1; seed <= 20; ++seed) {
    const next = numbers(seed);
    const most = { learners: 2 + next(20), heads: 1 + next(4) };
    const held = new Held(most);
    if (seed % 2) held.keeps = () => (next(3) ? Promise.resolve() : new Promise(setImmediate));
    const running: (() => void)[] = [];
    for (let i = 0; i < 2000; ++i) {
      // Some come again and again, most once.
      const learner = next(3) ? `new ${next(5000)}` : `old ${next(3)}`;
      running.push(await held.enter(learner));
      if (next(8) === 0) held.heads.add(learner);
      while (running.length > next(4)) running.splice(next(running.length), 1)[0]();
      expect(held.there.size).toBeLessThanOrEqual(2 * most.learners + 8);
      expect(held.learners.has(learner)).toBe(true);
    }
    for (const leave of running) leave();
    await held.learners.settled();
    (await held.enter('the last one'))();
    await held.learners.settled();
    expect(held.there.size).toBeLessThanOrEqual(most.learners);
    expect(held.heads.size).toBeLessThanOrEqual(most.heads);
    expect(held.learners.size).toBe(held.there.size);
    expect(held.wrong).toBe(0);
  }
});

test('the one seen longest ago is let go of first; whoever asks meanwhile, or cannot be kept, stays', async () => {
  const held = new Held({ learners: 2, heads: 2 });
  for (const learner of ['a', 'b', 'a', 'c']) (await held.enter(learner))();
  await held.learners.settled();
  expect([...held.there]).toEqual(['a', 'c']);
  let resolve = (): void => undefined;
  held.keeps = () => new Promise((done) => (resolve = done));
  (await held.enter('d'))();
  (await held.enter('a'))(); // while it is being written down
  held.keeps = (learner) => (learner === 'c' ? Promise.reject(new Error('no memory')) : Promise.resolve());
  resolve();
  await held.learners.settled();
  expect([...held.there].sort()).toEqual(['a', 'c']);
});

test('one that there is no memory to drop stays, and goes in its turn', async () => {
  const held = new Held({ learners: 1, heads: 1 });
  const lacking = Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' });
  held.there.delete = () => {
    throw lacking;
  };
  for (const learner of ['a', 'b']) (await held.enter(learner))();
  await held.learners.settled();
  expect(held.learners.size).toBe(2);
  held.there.delete = (learner) => Set.prototype.delete.call(held.there, learner);
  (await held.enter('c'))();
  await held.learners.settled();
  expect([...held.there]).toEqual(['c']);
});

test('one whose files somebody has removed is let go of', async () => {
  const held = new Held({ learners: 1, heads: 1 });
  held.keeps = () => Promise.reject(Object.assign(new Error('removed'), { code: 'FILE_NOT_FOUND' }));
  for (const learner of ['a', 'b']) (await held.learners.enter(learner))();
  await held.learners.settled();
  expect([held.learners.has('a'), held.learners.size]).toEqual([false, 1]);
});

test('where many can not be kept, a request waits for few of them, and others are let go of in their turn', async () => {
  const held = new Held({ learners: 100, heads: 100 });
  for (let i = 0; i < 100; ++i) (await held.enter(`learner ${i}`))();
  let tries = 0;
  held.keeps = (learner) => {
    tries += 1;
    return Number(learner.slice(8)) < 50 ? Promise.reject(new Error('full')) : Promise.resolve();
  };
  for (let i = 100; i < 110; ++i) {
    (await held.enter(`learner ${i}`))();
    await held.learners.settled();
    expect(tries).toBeLessThanOrEqual(20 * (i - 99));
  }
  expect(held.there.size).toBe(100);
  expect(held.there.has('learner 0')).toBe(true);
  expect(held.there.has('learner 50')).toBe(false);
  expect(held.wrong).toBe(0);
});

test('of a group with more members than are known by name anybody may have been one', () => {
  const groups = new Groups();
  const [large, small] = [learnerOf('', 'large'), learnerOf('', 'small')];
  for (let i = 0; i < 100_000; ++i) groups.join(`tenant ${i}`, large);
  for (let i = 0; i < 100; ++i) groups.join(`tenant ${i}`, small);
  expect(groups.of('tenant 3')).toEqual([large, small]);
  expect(groups.of('tenant 99999')).toEqual([large]);
  groups.forget(large);
  expect(groups.of('tenant 99999')).toEqual([]);
});
