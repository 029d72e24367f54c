import fc from 'fast-check';
import { CostModel } from '../../lib/controller/cost';
import type { Profile, RoundTimes } from '../../lib/controller/cost';
import { Drafter } from '../../lib/native';
import { random } from '../../bench/common/stats';

/** One row 3 ms, flat to 8 rows, a knee, flat to 16. */
const knees = Array.from({ length: 16 }, (_, i) => (i < 8 ? 3e-3 + i * 1e-5 : 4.5e-3 + i * 1e-5));
const profile: Profile = {
  passSeconds: knees,
  context: 0,
  secondsPerContextToken: 1e-7,
  draftSeconds: [0, 2e-6, 1e-6, 0, 2e-6, 2e-4, 4e-6],
};

function round(rows: number, passSeconds: number, contextTokens = 0): RoundTimes {
  const rest = { draftSeconds: 1e-6, sampleSeconds: 0, otherSeconds: 1e-5, headSeconds: 0, headContext: 0 };
  return { rows, sequences: 1, contextTokens, passSeconds, ...rest };
}

test('starts with the profile, knees and all, and goes on beyond it', () => {
  const cost = new CostModel(profile, 32);
  const table = cost.table();
  knees.forEach((seconds, i) => expect(table[i]).toBeCloseTo(seconds, 9));
  expect(table[31]).toBeGreaterThan(table[15]);
  expect(table[8] / table[7]).toBeGreaterThan(1.4);
});

test('takes the context out of the profile', () => {
  const measured = knees.map((seconds, i) => seconds + 200 * (i + 1) * 1e-6);
  const cost = new CostModel({ ...profile, passSeconds: measured, context: 200, secondsPerContextToken: 1e-6 }, 16);
  knees.forEach((seconds, i) => expect(cost.table()[i]).toBeCloseTo(seconds, 6));
});

test('a machine that got slower is noticed within a window of rounds, at every width', () => {
  const cost = new CostModel(profile, 16);
  for (let i = 0; i < 64; ++i) cost.observe(round(1, 2 * knees[0]));
  expect(cost.slowdown).toBeCloseTo(2, 1);
  expect(cost.table()[0] / knees[0]).toBeCloseTo(2, 1);
  expect(cost.table()[15] / knees[15]).toBeCloseTo(2, 1);
});

test('rare outliers do not move a price by more than a few percent', () => {
  const next = random(7);
  const cost = new CostModel(profile, 16);
  for (let i = 0; i < 2000; ++i)
    cost.observe(round(1 + (i % 4), knees[i % 4] * (next() < 0.03 ? 20 : 0.97 + 0.06 * next())));
  for (let i = 0; i < 4; ++i) expect(Math.abs(cost.table()[i] / knees[i] - 1)).toBeLessThan(0.05);
});

test('a width whose profile was wrong is put right while serving, the others stay', () => {
  const cost = new CostModel(profile, 16);
  for (let i = 0; i < 400; ++i) {
    cost.observe(round(1, knees[0]));
    if (i % 4 === 0) cost.observe(round(6, 1.3 * knees[5]));
  }
  expect(cost.table()[5] / knees[5]).toBeGreaterThan(1.2);
  expect(Math.abs(cost.table()[0] / knees[0] - 1)).toBeLessThan(0.05);
});

test('thousands of rounds of one width, with times that scatter upwards, leave the other widths at their prices', () => {
  const next = random(3);
  const cost = new CostModel(profile, 16);
  for (let i = 0; i < 20; ++i) cost.observe(round(8, knees[7]));
  for (let i = 0; i < 10_000; ++i) cost.observe(round(1, knees[0] * (0.97 + 0.4 * next() ** 3)));
  expect(Math.abs(Math.log(cost.slowdown))).toBeLessThan(0.1);
  for (const rows of [1, 2, 8, 16]) expect(Math.abs(cost.table()[rows - 1] / knees[rows - 1] - 1)).toBeLessThan(0.1);
});

test('what context costs is learned where the profile was wrong about it, for all widths together', () => {
  const truth = (rows: number, contextTokens: number): number => knees[rows - 1] + 6e-7 * contextTokens;
  for (const wrong of [0, 2e-7, 2e-6]) {
    const next = random(5);
    const measured = knees.map((_, i) => truth(i + 1, 128 * (i + 1)));
    const cost = new CostModel({ ...profile, passSeconds: measured, context: 128, secondsPerContextToken: wrong }, 16);
    for (let text = 0; text < 40; ++text) {
      const context = 100 + 1400 * next();
      for (let i = 0; i < 40; ++i) {
        const rows = [1, 2, 4, 8][Math.floor(4 * next())];
        const seconds = truth(rows, rows * (context + i)) * (0.95 + 0.1 * next());
        cost.observe(round(rows, seconds, rows * (context + i)));
      }
    }
    expect(Math.abs(cost.secondsPerContextToken / 6e-7 - 1)).toBeLessThan(0.15);
    for (const rows of [1, 2, 4, 8])
      for (const context of [50, 300, 1500])
        expect(Math.abs(cost.roundSeconds(rows, rows * context) / truth(rows, rows * context) - 1)).toBeLessThan(0.1);
  }
});

test('a pass that the whole process slept through leaves prices where they were', () => {
  const next = random(3);
  const observe = (cost: CostModel, rounds: number): void => {
    for (let i = 0; i < rounds; ++i) {
      const rows = [1, 2, 4, 8][Math.floor(4 * next())];
      cost.observe(round(rows, knees[rows - 1] * (0.97 + 0.06 * next()), rows * (200 + (i % 400))));
    }
  };
  const cost = new CostModel(profile, 16);
  observe(cost, 1000);
  const [perToken, table] = [cost.secondsPerContextToken, cost.table()];
  cost.observe(round(4, 3600, 4 * 200));
  observe(cost, 200);
  expect(Math.abs(cost.secondsPerContextToken - perToken)).toBeLessThan(1e-7);
  for (const rows of [1, 2, 4, 8]) expect(Math.abs(cost.table()[rows - 1] / table[rows - 1] - 1)).toBeLessThan(0.1);
});

test('never falls with rows and stays positive and finite, whatever is measured', () => {
  const seconds = fc.oneof(fc.double({ min: 0, max: 10 }), fc.constantFrom(NaN, Infinity, -1, 0));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), seconds), { maxLength: 100 }), (measured) => {
      const cost = new CostModel(profile, 16);
      for (const [rows, passSeconds] of measured) cost.observe(round(rows, passSeconds));
      const table = cost.table();
      expect(table.every((price) => price > 0 && Number.isFinite(price))).toBe(true);
      expect(table.every((price, i) => i === 0 || price >= table[i - 1])).toBe(true);
    }),
  );
});

test('prompts are part of what the head costs before it has been asked', () => {
  const draftSeconds = [...profile.draftSeconds];
  draftSeconds[Drafter.head] = 3e-4;
  const cost = new CostModel({ ...profile, draftSeconds, headPositionSeconds: 1e-5 }, 16);
  expect(cost.draftSeconds[Drafter.head]).toBeCloseTo(3e-4, 8);
  for (let i = 0; i < 100; ++i) cost.observePrompts(i === 0 ? 500 : 0, 1);
  expect(cost.draftSeconds[Drafter.head]).toBeGreaterThan(3.4e-4); // 500 positions over 100 rounds
  expect(cost.draftSeconds[Drafter.head]).toBeLessThan(3.6e-4);
});

test('a draft of the head that catches up on a text is no dearer draft, but prompts are part of the price', () => {
  const cost = new CostModel(profile, 16);
  const asked = (positions: number): RoundTimes => ({
    ...round(1, 3e-3),
    headSeconds: 3e-4 + positions * 1e-5,
    headContext: positions,
  });
  for (let i = 0; i < 300; ++i) cost.observeHead(asked(i % 3 === 0 ? 200 : 2), 1);
  expect(cost.draftSeconds[Drafter.head]).toBeCloseTo(3.2e-4, 5);
  for (let i = 0; i < 3000; ++i) cost.observePrompts(i % 50 === 0 ? 500 : 0, 1);
  expect(cost.draftSeconds[Drafter.head]).toBeGreaterThan(3.9e-4);
  expect(cost.draftSeconds[Drafter.head]).toBeLessThan(4.5e-4);
});

test('a draft, or what lies between two passes, that was interrupted once moves its price by little', () => {
  const cost = new CostModel(profile, 16);
  const drafted = (draftSeconds: number, otherSeconds: number): RoundTimes => {
    return { ...round(2, knees[1]), draftSeconds, otherSeconds };
  };
  for (let i = 0; i < 1000; ++i) cost.observe(drafted(2.5e-5, 2e-5), Drafter.blend);
  expect(cost.draftSeconds[Drafter.blend]).toBeCloseTo(2.5e-5, 7);
  expect(cost.overheadSeconds).toBeCloseTo(2e-5, 7);
  cost.observe(drafted(5e-2, 5e-2), Drafter.blend);
  expect(cost.draftSeconds[Drafter.blend]).toBeLessThan(2.7e-5);
  expect(cost.overheadSeconds).toBeLessThan(2.2e-5);
  for (let i = 0; i < 400; ++i) cost.observe(drafted(1e-3, 1e-3), Drafter.blend);
  expect(cost.draftSeconds[Drafter.blend]).toBeGreaterThan(9e-4);
  expect(cost.overheadSeconds).toBeGreaterThan(9e-4);
});
