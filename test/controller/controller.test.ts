import fc from 'fast-check';
import { AcceptanceModel } from '../../lib/controller/acceptance';
import { Controller, pricesDiffer } from '../../lib/controller/controller';
import type { Profile } from '../../lib/controller/cost';
import { explain } from '../../lib/controller/explain';
import { Drafter, drafterCount, policyKnots, policyDepths } from '../../lib/native';
import type { NativePrices } from '../../lib/native';
import { owner } from '../../bench/sim/decode';
import { outcomes } from '../decode/scripted-engine';
import { chanceOf, simulate } from './world';
import type { World } from './world';

const passSeconds = Array.from({ length: 64 }, (_, i) => 3e-3 * (1 + 0.03 * i + (i >= 8 ? 0.3 : 0)));
const profile: Profile = {
  passSeconds,
  context: 0,
  secondsPerContextToken: 0,
  draftSeconds: [0, 2e-6, 2e-6, 0, 2e-6, 2e-4, 4e-6],
};

/** A controller whose clock moves on by 3 ms with every look. */
function create(given: Profile = profile): Controller {
  let now = 0;
  return new Controller(given, { now: () => (now += 3) });
}

const machine = { profile, overheadSeconds: 1e-5 };
/** Of drafts of so many tokens, all as sure. */
const chain = (length: number, confidence: number): Pick<World, 'machine' | 'confidence' | 'length'> => {
  return { machine, confidence: () => confidence, length: () => length };
};
const uniform = (next: () => number): number => next();

test('where nothing can be gained it costs less than 1 %, the learning included', () => {
  const world: World = { machine, confidence: uniform, chance: () => 0.01 };
  for (let seed = 1; seed <= 3; ++seed) expect(simulate(create(), world, 3000, seed)).toBeGreaterThan(0.99);
});

test('drafts that hold are used from the first rounds on', () => {
  const world: World = { ...chain(7, 0.9), chance: () => 0.9 };
  expect(simulate(create(), world, 100)).toBeGreaterThan(2.5);
  expect(simulate(create(), world, 7500)).toBeGreaterThan(3);
});

test('overconfident drafts are found out: as fast as if the true chances had been known', () => {
  const chance = (confidence: number): number => 0.45 * confidence;
  const world: World = { machine, confidence: uniform, chance, length: () => 6 };
  const known = create();
  simulate(known, world, 2);
  for (let i = 0; i < 20000; ++i) {
    const confidence = (i % 64) / 64;
    const hit = ((i * 7919) % 1000) / 1000 < chance(confidence);
    known.beliefs.get(owner.tenant)!.acceptance.observe('greedy', Drafter.recall, 1 + (i % 6), confidence, hit);
  }
  const oracle = simulate(known, world, 3000);
  expect(simulate(create(), world, 3000)).toBeGreaterThan(oracle * 0.98);
});

test('a text that turns is followed: nothing to gain, then much, then nothing', () => {
  const controller = create();
  const bad: World = { ...chain(8, 0.7), chance: () => 0.005 };
  const good: World = { ...bad, chance: () => 0.85 };
  simulate(controller, bad, 2000, 1);
  simulate(controller, good, 3000, 2);
  expect(simulate(controller, good, 2000, 3)).toBeGreaterThan(2);
  simulate(controller, bad, 500, 4);
  expect(simulate(controller, bad, 3000, 5)).toBeGreaterThan(0.99);
});

test('a wrong profile is put right: drafts that look free but are not', () => {
  const lying: Profile = { ...profile, passSeconds: passSeconds.map((_, i) => 3e-3 * (1 + 0.001 * i)) };
  const steep = passSeconds.map((_, i) => 3e-3 * (1 + 0.5 * i));
  const world: World = {
    ...chain(4, 0.4),
    machine: { ...machine, profile: { ...profile, passSeconds: steep } },
    chance: () => 0.3,
    length: (next) => (next() < 0.25 ? 0 : 4),
  };
  const controller = create(lying);
  simulate(controller, world, 1000);
  expect(simulate(controller, world, 3000, 2)).toBeGreaterThan(0.98);
});

test('sends a table only when it says something new, and not too often', () => {
  let now = 0;
  const headless = {
    ...profile,
    draftSeconds: profile.draftSeconds.map((seconds, drafter) => (drafter === Number(Drafter.head) ? 0 : seconds)),
  };
  const controller = new Controller(headless, { now: () => now, interval: 5 });
  expect(controller.nextPolicies()).toHaveLength(1);
  now = 100;
  expect(controller.nextPolicies()).toEqual([]);
  const slow = [[1, 1, 0, 0, 0, 9e-3, 0, 0]];
  controller.observe(outcomes([{ sequence: 1, tokens: [1] }], { rounds: slow }), () => owner);
  now = 109;
  expect(controller.nextPolicies()).toEqual([]); // nothing was new, so it looks again only after twice the time
  now = 110;
  const [{ policy }] = controller.nextPolicies();
  expect(policy!.passSeconds[0]).toBeGreaterThan(2 * passSeconds[0]);
  now = 114;
  for (let i = 0; i < 50; ++i) {
    controller.observe(
      outcomes([{ sequence: 1, tokens: [1] }], { rounds: [[1, 1, 0, 0, 0, 2e-3, 0, 0]] }),
      () => owner,
    );
  }
  expect(controller.nextPolicies()).toEqual([]);
  now = 115;
  expect(controller.nextPolicies()).toHaveLength(1);
});

test('a changed price of context alone is worth a new table', () => {
  const { passSeconds: prices, ...rest } = create().policy();
  const at = (secondsPerContextToken: number): NativePrices => ({
    ...rest,
    passSeconds: prices,
    secondsPerContextToken,
  });
  expect(pricesDiffer(at(1e-6), at(1e-6))).toBe(false);
  expect(pricesDiffer(at(1e-6), at(1.1e-6))).toBe(false); // 26 us at 256 tokens, of 3 ms
  expect(pricesDiffer(at(1e-6), at(1.4e-6))).toBe(true);
  expect(pricesDiffer(at(1.4e-6), at(1e-6))).toBe(true);
});

test('a changed price of drafts or of what lies between passes alone is worth a new table', () => {
  const prices = create().policy();
  const slower = prices.draftSeconds.slice();
  slower[Drafter.recall] += 0.03 * passSeconds[0];
  expect(pricesDiffer(prices, { ...prices, draftSeconds: slower })).toBe(true);
  expect(pricesDiffer(prices, { ...prices, overheadSeconds: 0.03 * passSeconds[0] })).toBe(true);
  expect(pricesDiffer(prices, { ...prices, overheadSeconds: 0.01 * passSeconds[0] })).toBe(false);
});

test('the engine hears of what lies between passes that take no longer than they were said to', () => {
  let now = 0;
  const controller = new Controller(profile, { now: () => (now += 3), interval: 5 });
  let heard = controller.nextPolicies()[0].policy!.overheadSeconds;
  expect(heard).toBe(0);
  for (let i = 0; i < 400; ++i) {
    const rounds = [[1, 1, 0, 0, 0, passSeconds[0], 0, 1e-3]];
    controller.observe(outcomes([{ sequence: 1, tokens: [1] }], { rounds }), () => owner);
    heard = controller.nextPolicies().at(-1)?.policy?.overheadSeconds ?? heard;
  }
  expect(Math.abs(heard / 1e-3 - 1)).toBeLessThan(0.1);
});

test('what came counts at once for those who ask, and belongs to whom it belonged when it came', () => {
  const controller = new Controller(profile, { now: () => 0 });
  expect(controller.nextPolicies()).toHaveLength(1);
  let known = true;
  const step = {
    sequence: 1,
    tokens: [1],
    drafter: Drafter.suffix,
    drafts: [[1, 0.9, 0]] as [number, number, number][],
  };
  const round = { rounds: [[2, 1, 0, 0, 0, 3e-3, 0, 0]] };
  controller.observe(outcomes([step], round), () => (known ? owner : undefined));
  known = false; // the sequence has ended before anybody looks
  expect(controller.nextPolicies()).toEqual([]);
  expect(controller.ledger.total.rounds).toBe(1);
  expect(controller.beliefs.get(owner.tenant)!.acceptance.summary(Drafter.suffix).tried).toBe(1);
});

test('what is believed of one tenant is neither told nor known of another', () => {
  let now = 0;
  const controller = new Controller(profile, { now: () => (now += 100), measured: false });
  const fresh = controller.nextPolicies();
  expect(fresh.map(({ tenant }) => tenant)).toEqual([undefined]);
  const fails = (tenant: string): void => {
    const drafts: [number, number, number][] = Array.from({ length: 20 }, () => [1, 0.9, 0]);
    const step = { sequence: 1, tokens: [1], drafter: Drafter.suffix, drafts };
    controller.observe(outcomes([step], { rounds: [[21, 1, 0, 0, 0, 9, 0, 0]] }), () => ({ tenant, kind: 'greedy' }));
  };
  fails('a');
  const [told] = controller.nextPolicies();
  expect(told.tenant).toBe('a');
  expect(told.policy!.acceptance).not.toEqual(fresh[0].policy!.acceptance);
  expect(controller.policy('b')).toEqual(fresh[0].policy);
  expect(controller.policy()).toEqual(fresh[0].policy);
  controller.forget('a');
  expect(controller.policy('a')).toEqual(fresh[0].policy);
});

test('of very many tenants those that were seen longest ago begin anew, and the engine is told', () => {
  let now = 0;
  const controller = new Controller(profile, { now: () => (now += 100) });
  controller.nextPolicies();
  for (let i = 0; i < 300; ++i) {
    const step = {
      sequence: 1,
      tokens: [1],
      drafter: Drafter.suffix,
      drafts: [[1, 0.9, 0]] as [number, number, number][],
    };
    controller.observe(outcomes([step], { rounds: [[2, 1, 0, 0, 0, 3e-3, 0, 0]] }), () => ({
      tenant: `${i}`,
      kind: 'greedy',
    }));
  }
  expect(controller.beliefs.size).toBe(256);
  const dropped = controller.nextPolicies().filter(({ policy }) => policy === undefined);
  expect(dropped.map(({ tenant }) => tenant)).toEqual(Array.from({ length: 44 }, (_, i) => `${i}`));
});

test('tables that the engine did not hear are told with the next ones, and what it heard is not', () => {
  let now = 0;
  const controller = new Controller(profile, { now: () => (now += 100), measured: false });
  const begins = controller.nextPolicies();
  controller.unheard(begins);
  expect(controller.nextPolicies()).toEqual(begins);
  const step = (sequence: number, outcome: number) => {
    const drafts: [number, number, number][] = Array.from({ length: 20 }, () => [1, 0.9, outcome]);
    return { sequence, tokens: [1], drafter: Drafter.suffix, drafts };
  };
  const see = (tenant: string, outcome: number): void =>
    controller.observe(outcomes([step(1, outcome)], { rounds: [[21, 1, 0, 0, 0, 9, 0, 0]] }), () => ({
      tenant,
      kind: 'greedy',
    }));
  see('a', 0);
  see('b', 0);
  const told = controller.nextPolicies();
  expect(told.map(({ tenant }) => tenant)).toEqual(['a', 'b']);
  controller.unheard(told.slice(1));
  expect(controller.nextPolicies()).toEqual([begins[0], told[1]]); // it may be the prices that were not heard
  expect(controller.nextPolicies()).toEqual([]);
  for (let i = 0; i < 300; ++i) see(`${i}`, 0);
  const dropped = controller.nextPolicies();
  controller.unheard(dropped);
  const again = controller.nextPolicies();
  expect(again.filter(({ policy }) => !policy)).toEqual(dropped.filter(({ policy }) => !policy));
  expect(again.filter(({ policy, tenant }) => policy && tenant)).toEqual(dropped.filter(({ policy }) => policy));
});

test('a table has the shape that the engine wants', () => {
  const policy = create().policy();
  expect(policy.passSeconds).toHaveLength(policy.rowBudget);
  expect(policy.acceptance).toHaveLength(drafterCount * policyDepths * policyKnots);
  expect(Array.from(policy.allowed)).toEqual([0, 1, 1, 0, 1, 1, 1]);
  expect(policy.draftSeconds).toHaveLength(drafterCount);
});

test('rounds that read prompts, and sequences that are not to be learned from, leave prices and chances alone', () => {
  const controller = create();
  const before = controller.policy();
  const drafts: [number, number, number][] = Array.from({ length: 20 }, () => [1, 0.9, 0]);
  const step = { sequence: 1, tokens: [1], drafter: Drafter.suffix, drafts };
  controller.observe(outcomes([step], { rounds: [[300, 1, 0, 279, 0, 0.5, 0, 0]] }), () => undefined);
  expect(controller.policy()).toEqual(before);
  expect(controller.ledger.total.rounds).toBe(0);
});

test('calibration compares what plans had promised with what came', () => {
  const controller = create();
  const promised = 0.7;
  const round = (outcome: number, kind?: 'greedy'): void =>
    controller.observe(
      outcomes([{ sequence: 1, tokens: [1], drafter: Drafter.suffix, drafts: [[1, 0.9, outcome, promised]] }], {
        rounds: [[2, 1, 0, 0, 0, 3e-3, 0, 0]],
      }),
      () => ({ tenant: 'a', kind }),
    );
  for (let i = 0; i < 4; ++i) round(1);
  round(2, 'greedy');
  expect(controller.calibration.error).toBe(0);
  round(1, 'greedy');
  expect(controller.calibration.error).toBeCloseTo(1 - promised, 6);
  round(0, 'greedy');
  expect(controller.calibration.error).toBeCloseTo(Math.abs(0.5 - promised), 6);
});

describe('acceptance', () => {
  const chance = (model: AcceptanceModel, confidence: number, depth = 1): number =>
    chanceOf(model.table(), Drafter.suffix, depth, confidence);

  test('never falls with confidence and stays within 0..1, whatever is seen', () => {
    const draft = fc.record({
      drafter: fc.integer({ min: 1, max: 3 }),
      depth: fc.integer({ min: 1, max: 30 }),
      confidence: fc.double({ min: -0.5, max: 1.5, noNaN: true }),
      accepted: fc.boolean(),
      sampled: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(draft, { maxLength: 300 }), (drafts) => {
        const model = new AcceptanceModel();
        for (const { drafter, depth, confidence, accepted, sampled } of drafts) {
          const kind = sampled ? 'sampled' : 'greedy';
          model.see(kind);
          model.observe(kind, drafter, depth, confidence, accepted);
        }
        const table = model.table();
        expect(table.every((value) => value >= 0 && value <= 1 + 1e-6)).toBe(true);
        expect(table.every((value, i) => i % policyKnots === 0 || value >= table[i - 1] - 1e-6)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  test('what is seen at one depth informs the others', () => {
    const model = new AcceptanceModel();
    const before = chance(model, 0.5, 3);
    for (let i = 0; i < 100; ++i) model.observe('greedy', Drafter.suffix, 1, 0.5, true);
    expect(chance(model, 0.5, 3)).toBeGreaterThan(before + 0.1);
    expect(chance(model, 0.5, 1)).toBeGreaterThan(chance(model, 0.5, 3));
  });

  test('sampled text does not spoil what is known of greedy text', () => {
    const model = new AcceptanceModel();
    for (let i = 0; i < 300; ++i) model.observe('greedy', Drafter.suffix, 1, 0.8, true);
    for (let i = 0; i < 300; ++i) model.observe('sampled', Drafter.suffix, 1, 0.8, false);
    for (let i = 0; i < 1000; ++i) model.see('greedy');
    expect(chance(model, 0.8)).toBeGreaterThan(0.85);
    for (let i = 0; i < 1000; ++i) model.see('sampled');
    expect(chance(model, 0.8)).toBeLessThan(0.15);
  });

  test('what is no longer tried drifts back to its prior', () => {
    const model = new AcceptanceModel();
    const prior = chance(model, 0.8);
    for (let i = 0; i < 400; ++i) model.observe('greedy', Drafter.suffix, 1, 0.8, false);
    expect(chance(model, 0.8)).toBeLessThan(0.1);
    for (let i = 0; i < 40000; ++i) model.see('greedy');
    expect(chance(model, 0.8)).toBeGreaterThan(prior * 0.8);
  });
});

test('interruptions by other work are not held against drafting', () => {
  const controller = create();
  simulate(controller, { ...chain(7, 0.1), chance: () => 0, interrupted: 0.02 }, 2000);
  expect(controller.ledger.speedup).toBeGreaterThan(0.95);
});

test('explains prices, chances and choices in words', () => {
  const controller = create();
  simulate(controller, { ...chain(7, 0.9), chance: () => 0.9 }, 2500);
  const text = explain(controller);
  expect(text).toMatch(
    /A pass of one row costs \d\.\d\d ms with 256 tokens of context; by rows 1: 1\.00x {2}2: 1\.0\dx/,
  );
  expect(text).toMatch(
    /recall drafted \d+ tokens in \d+ rounds, lately (8|9)\d % of those that were reached were accepted/,
  );
  expect(text).toMatch(/All rounds: \d\.\d\dx the speed of plain decoding at the same prices/);
  expect(controller.ledger.speedup).toBeGreaterThan(2.5);
});
