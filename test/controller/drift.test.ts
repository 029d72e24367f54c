import fc from 'fast-check';
import { Controller } from '../../lib/controller/controller';
import type { Profile } from '../../lib/controller/cost';
import { Drift } from '../../lib/controller/drift';
import type { DriftFinding } from '../../lib/controller/drift';
import { Drafter } from '../../lib/native';
import { driftEvent } from '../../lib/speculators/events';
import { learnerOf } from '../../lib/speculators/groups';
import { outcomes } from '../decode/scripted-engine';
import { random } from '../../bench/common/stats';

const profile: Profile = {
  passSeconds: [3e-3, 3.1e-3],
  context: 0,
  secondsPerContextToken: 0,
  draftSeconds: new Array<number>(6).fill(0),
};

/** Rounds of answers of 60 rounds each, every round with one first token; what was noticed, by round. */
function watch(
  rounds: number,
  chance: (confidence: number, round: number) => number,
  seed: number,
): (DriftFinding & { round: number })[] {
  const next = random(seed);
  const drift = new Drift();
  const found: (DriftFinding & { round: number })[] = [];
  for (let round = 0; round < rounds; ++round) {
    if (!drift.begin(Math.floor(round / 60))) continue;
    const confidence = next();
    drift.add(Drafter.recall, confidence, next() < chance(confidence, round));
    found.push(...drift.end().map((finding) => ({ ...finding, round })));
  }
  return found;
}

test('where nothing changes there is no alarm, whatever the chances are', () => {
  fc.assert(
    fc.property(fc.integer(), fc.double({ min: 0, max: 1, noNaN: true }), fc.boolean(), (seed, level, informed) => {
      expect(watch(20_000, (confidence) => (informed ? level * confidence : level), seed)).toEqual([]);
    }),
    { numRuns: 40, seed: 1 },
  );
});

test('drafts that suddenly fail are an alarm within some answers, and their return is seen', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const fails = (round: number): boolean => round >= 6000 && round < 8000;
      const [drift, recovered, ...more] = watch(
        12_000,
        (confidence, round) => (fails(round) ? 0.1 : 1) * confidence,
        seed,
      );
      expect(more).toEqual([]);
      expect(drift).toMatchObject({ kind: 'drift', drafter: Drafter.recall });
      expect(drift.round).toBeGreaterThanOrEqual(6000);
      expect(drift.round).toBeLessThan(6600);
      expect(drift.seen).toBeLessThan(drift.expected - 0.2);
      expect(recovered.kind).toBe('recovered');
      expect(recovered.round).toBeGreaterThanOrEqual(8000);
      expect(recovered.round).toBeLessThan(8600);
    }),
    { numRuns: 40, seed: 1 },
  );
});

test('one odd answer alone is no drift', () => {
  const odd = (round: number): boolean => Math.floor(round / 60) % 20 === 7;
  for (let seed = 1; seed <= 20; ++seed)
    expect(watch(20_000, (confidence, round) => (odd(round) ? 0 : 0.5 + 0.5 * confidence), seed)).toEqual([]);
});

test('what has been so for long is usual', () => {
  const found = watch(20_000, (confidence, round) => (round < 5000 ? confidence : 0.1 * confidence), 3);
  expect(found.map(({ kind }) => kind)).toEqual(['drift', 'recovered']);
});

test('the controller says whose drafts fail, in numbers', () => {
  const found: [string, DriftFinding][] = [];
  let now = 0;
  const controller = new Controller(profile, {
    now: () => (now += 100),
    onDrift: (tenant, finding) => void found.push([tenant, finding]),
  });
  const round = (tenant: string, sequence: number, outcome: number): void => {
    const step = {
      sequence,
      tokens: [1],
      drafter: Drafter.suffix,
      drafts: [[1, 0.9, outcome]] as [number, number, number][],
    };
    controller.observe(outcomes([step], { rounds: [[2, 1, 0, 0, 0, 3e-3, 0, 0]] }), () => ({ tenant, kind: 'greedy' }));
    controller.nextPolicies();
  };
  for (let i = 0; i < 1500; ++i) {
    round('steady', i % 100, i % 8 === 0 ? 0 : 1);
    round('falls', 1000 + (i >> 3), i < 800 && i % 8 !== 0 ? 1 : 0);
  }
  expect(found.map(([tenant]) => tenant)).toEqual(['falls']);
  expect(found[0][1]).toMatchObject({ kind: 'drift', drafter: Drafter.suffix });
});

test('an event names its tenant, or its group, and the drafter', () => {
  const finding: DriftFinding = { kind: 'drift', drafter: Drafter.recall, expected: 0.8, seen: 0.2, rounds: 30 };
  expect(driftEvent('a', finding)).toEqual({ ...finding, tenant: 'a', drafter: 'recall' });
  expect(driftEvent(learnerOf('a', 'g'), finding)).toEqual({ ...finding, tenant: 'g', group: true, drafter: 'recall' });
});
