import { Guard } from '../../lib/speculators/guard';
import type { Verdict } from '../../lib/speculators/guard';
import { mostPositions } from '../../lib/speculators/foreseen';

const slots = 4;
const none = new Uint8Array(0);

// Globals are slow to reach from within Jest, and there are many millions of draws.
const { imul } = Math;

/** A seeded stream of numbers in [0, 1): mulberry32. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = imul(state ^ (state >>> 15), state | 1);
    t ^= t + imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Chance, position by position, that a drafted token is right: texts have easy and hard parts. */
type Skill = (position: number) => number;

/** Two heads along one text; what is easy for one is mostly easy for the other. */
function pair(next: () => number, live: Skill, candidate: Skill): { live: Uint8Array; candidate: Uint8Array } {
  const right = [new Uint8Array(mostPositions), new Uint8Array(mostPositions)];
  for (let at = 0; at < mostPositions; ++at) {
    const alive = [true, true];
    for (let slot = 0; slot < slots && (alive[0] || alive[1]); ++slot) {
      const shared = next();
      for (let i = 0; i < 2; ++i) {
        const draw = next() < 0.7 ? shared : next();
        alive[i] &&= draw < (i === 0 ? live : candidate)(at + slot);
        if (alive[i]) right[i][at] += 1;
      }
    }
  }
  return { live: right[0], candidate: right[1] };
}

/** What two heads have right along the next text, and whose it is. */
type Texts = (next: () => number, i: number) => { tenant?: string; live: Uint8Array; candidate: Uint8Array };

/** Texts on which the heads are as good as that. */
const texts =
  (live: Skill, candidate: Skill): Texts =>
  (next) =>
    pair(next, live, candidate);

/** Judges one candidate on up to `most` texts; the verdict and after how many texts it came. */
function judge(seed: number, most: number, of: Texts): [string, number, Verdict?] {
  const next = random(seed);
  const guard = new Guard();
  guard.try();
  for (let i = 0; i < most; ++i) {
    const [verdict] = guard.observe({ tenant: 'a', previous: none, ...of(next, i) });
    if (verdict) return [verdict.kind, i + 1, verdict];
  }
  return ['none', most];
}

const even =
  (chance: number): Skill =>
  () =>
    chance;
const steady =
  (chance: number): Skill =>
  (at) =>
    (at >> 3) % 2 ? chance + 0.15 : chance - 0.15;
const count = <T>(all: T[], wanted: T): number => all.filter((each) => each === wanted).length;
const seeds = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

test('a candidate that brings nothing is promoted at most once in twenty, looked at after every text', () => {
  const outcomes = seeds(100).map((seed) => judge(seed, 1024, texts(steady(0.5), steady(0.5)))[0]);
  expect(count(outcomes, 'promote')).toBeLessThanOrEqual(5);
  expect(count(outcomes, 'none')).toBe(0); // patience has an end
});

/** Either head is as good as the one or as the other, text by text, by chance. */
const eitherWay =
  (one: Skill, other: Skill): Texts =>
  (next) =>
    next() < 0.5 ? pair(next, one, other) : pair(next, other, one);

test('the same holds where it is much better in one part of a text and as much worse in the other', () => {
  const swapped: Skill = (at) => steady(0.5)(at + 8);
  const outcomes = seeds(60).map((seed) => judge(seed, 1024, eitherWay(steady(0.5), swapped))[0]);
  expect(count(outcomes, 'promote')).toBeLessThanOrEqual(3);
});

const oneKindOfText = eitherWay(even(0.9), even(0.1));

test('the same holds where it is much better on one kind of text and as much worse on another', () => {
  const outcomes = seeds(400).map((seed) => judge(seed, 256, oneKindOfText)[0]);
  expect(count(outcomes, 'promote')).toBeLessThanOrEqual(20);
});

/** Chances that bring a round to more tokens by a few per cent: (1 - p^5) / (1 - p) at 0.5 is 1.94. */
const better = 0.55;

test('one that saves 8 % of the rounds is promoted', () => {
  const runs = seeds(40).map((seed) => judge(seed, 1024, texts(steady(0.5), steady(better))));
  const gains = runs.map(([, , verdict]) => Number(verdict?.evidence['gain']));
  const mean = gains.reduce((sum, gain) => sum + gain, 0) / gains.length;
  expect(mean).toBeGreaterThan(0.06);
  expect(mean).toBeLessThan(0.1);
  expect(
    count(
      runs.map(([kind]) => kind),
      'promote',
    ),
  ).toBeGreaterThanOrEqual(38);
  for (const [, , verdict] of runs) expect(Number(verdict!.evidence['lowerBound'])).toBeLessThanOrEqual(0.05);
});

test('one that is worse is never promoted and soon given up', () => {
  const runs = seeds(60).map((seed) => judge(seed, 1024, texts(steady(better), steady(0.5))));
  expect(new Set(runs.map(([kind]) => kind))).toEqual(new Set(['discard']));
  const much = seeds(20).map((seed) => judge(seed, 1024, texts(steady(0.5), steady(0.2)))[1]);
  expect(Math.max(...much)).toBeLessThan(40);
});

/** Texts of several tenants in turn, whom a candidate drafts for as well as that. */
const members =
  (...skills: number[]): Texts =>
  (next, i) => ({
    tenant: `member ${i % skills.length}`,
    ...pair(next, steady(0.5), steady(skills[i % skills.length])),
  });

test('a gain of most tenants does not pay for the loss of one', () => {
  const runs = seeds(20).map((seed) => judge(seed, 1024, members(0.65, 0.65, 0.42)));
  expect(new Set(runs.map(([kind]) => kind))).toEqual(new Set(['discard']));
  const [, , verdict] = runs[0];
  expect(Number(verdict!.evidence['gain'])).toBeGreaterThan(0.05);
  expect(Number(verdict!.evidence['worstTenant'])).toBeLessThan(-0.02);
});

test('several tenants that all gain are served together, and those of whom little text came are in nobody’s way', () => {
  const [kind, , verdict] = judge(3, 1024, members(0.65, 0.65, 0.65));
  expect(kind).toBe('promote');
  expect(verdict!.evidence).toMatchObject({ tenants: 3 });
  const many = judge(3, 1024, (next, i) => ({ ...members(0.65)(next, i), tenant: `${i}` }));
  expect(many[0]).toBe('promote');
  expect(many[2]!.evidence['worstTenant']).toBe(many[2]!.evidence['gain']);
});

test('tenants of whom little text came are taken together: that each of them loses is seen', () => {
  const [kind, , verdict] = judge(3, 1024, (next, i) =>
    i % 3 ? members(0.65)(next, i) : { ...members(0.42)(next, i), tenant: `passing ${i}` },
  );
  expect(kind).toBe('discard');
  expect(Number(verdict!.evidence['worstTenant'])).toBeLessThan(-0.02);
});

/** Which text a live head is left at, against the one before it. */
function watch(seed: number, most: number, of: Texts): number {
  const next = random(seed);
  const guard = new Guard();
  for (let i = 0; i < most; ++i) {
    const { live: previous, candidate: live } = of(next, i);
    const verdicts = guard.observe({ tenant: 'a', live, candidate: none, previous });
    if (verdicts.some(({ kind }) => kind === 'rollback')) return i;
  }
  return Infinity;
}

test('a live head that falls behind the one before it is left soon, however well it did before', () => {
  for (const seed of seeds(20)) {
    const left = watch(seed, 300, (next, i) => pair(next, steady(0.5), steady(i < 200 ? 0.6 : 0.3)));
    expect(left).toBeGreaterThan(200);
    expect(left).toBeLessThan(290);
  }
});

test.each([
  ['on every text', texts(steady(0.5), steady(0.5))],
  ['on all texts together', oneKindOfText],
])('one that is no worse %s is hardly ever left', (_, of) => {
  const left = seeds(100).map((seed) => watch(seed, 250, of));
  expect(left.filter((at) => at < Infinity).length).toBeLessThanOrEqual(10); // 250 texts are a tenth of those until it is left by mistake
});

test('an alarm sounds once when nothing is accepted any more, and again only after it worked in between', () => {
  const guard = new Guard();
  const sounds = (right: number, most: number): number => {
    let alarms = 0;
    const live = new Uint8Array(mostPositions).fill(right);
    for (let i = 0; i < most; ++i) {
      const verdicts = guard.observe({ tenant: 'a', live, candidate: none, previous: none });
      alarms += verdicts.filter(({ kind }) => kind === 'alarm').length;
    }
    return alarms;
  };
  expect(sounds(0, 200)).toBe(1);
  expect(sounds(2, 200)).toBe(0);
  expect(guard.state.acceptanceLength).toBeGreaterThan(2);
  expect(sounds(0, 200)).toBe(1);
});

test('heads that draft alike are neither better nor worse', () => {
  const guard = new Guard();
  guard.try();
  const { live } = pair(random(1), steady(0.5), steady(0.5));
  const all = Array.from({ length: 1200 }, () =>
    guard.observe({ tenant: 'a', live, candidate: live, previous: live }),
  ).flat();
  expect(all.map(({ kind }) => kind)).toEqual(['discard']);
  expect(all[0].evidence).toMatchObject({ gain: 0, texts: 1024 });
});
