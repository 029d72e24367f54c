import { AcceptanceModel, cellOf, knotConfidence, knotPlace } from '../../lib/controller/acceptance';
import type { RowKind } from '../../lib/controller/acceptance';
import { Drafter, drafterCount, policyKnots } from '../../lib/native';
import { chanceOf } from './world';

function firstTokens(kind: RowKind, drafter: Drafter): Float32Array {
  const model = new AcceptanceModel();
  model.see(kind);
  return model.table().slice(cellOf(drafter, 1, 0), cellOf(drafter, 1, policyKnots));
}

test.each([Drafter.suffix, Drafter.recall, Drafter.head])(
  'before drafter %i has been seen, confidence is nearly a chance, and sampled tokens are harder to guess',
  (drafter) => {
    const greedy = firstTokens('greedy', drafter);
    const sampled = firstTokens('sampled', drafter);
    for (let knot = 0; knot < policyKnots; ++knot) {
      expect(Math.abs(greedy[knot] - knotConfidence(knot))).toBeLessThan(0.13);
      expect(sampled[knot]).toBeLessThanOrEqual(greedy[knot] + 0.01);
      if (knot > 0) expect(greedy[knot]).toBeGreaterThanOrEqual(greedy[knot - 1]);
    }
  },
);

test('what was seen soon weighs more than the prior, and an unseen confidence follows the trust in its drafter', () => {
  const model = new AcceptanceModel();
  model.see('greedy');
  for (let i = 0; i < 40; ++i) model.observe('greedy', Drafter.recall, 1, 0.9, false);
  const table = model.table();
  expect(chanceOf(table, Drafter.recall, 1, 0.9)).toBeLessThan(0.15);
  expect(chanceOf(table, Drafter.recall, 1, 0.65)).toBeLessThan(0.2);
  expect(chanceOf(table, Drafter.suffix, 1, 0.9)).toBeGreaterThan(0.8);
});

test('knots and the places of confidences belong together; what is no confidence has a place at an end', () => {
  for (let knot = 0; knot < policyKnots; ++knot) expect(knotPlace(knotConfidence(knot))).toBeCloseTo(knot, 9);
  expect([-1, 0, 1e-9, NaN].map(knotPlace)).toEqual([0, 0, 0, 0]);
  expect([1 - 1e-9, 1, 2].map(knotPlace)).toEqual([15, 15, 15]);
});

test('tokens of one confidence are told from those of another that lies between the same knots', () => {
  const model = new AcceptanceModel();
  model.see('greedy');
  const [low, high] = [knotConfidence(9.1), knotConfidence(9.9)];
  for (let i = 0; i < 200; ++i) {
    model.observe('greedy', Drafter.recall, 1, low, i % 4 === 0);
    model.observe('greedy', Drafter.recall, 1, high, i % 4 !== 0);
  }
  const table = model.table();
  expect(chanceOf(table, Drafter.recall, 1, low)).toBeLessThan(0.4);
  expect(chanceOf(table, Drafter.recall, 1, high)).toBeGreaterThan(0.6);
});

test('what is said of those who may not draft is made when they may', () => {
  const model = new AcceptanceModel();
  model.see('greedy');
  const before = model.table().slice();
  for (let i = 0; i < 40; ++i)
    for (const drafter of [Drafter.suffix, Drafter.recall]) model.observe('greedy', drafter, 1, 0.9, false);
  const cell = cellOf(Drafter.suffix, 1, Math.round(knotPlace(0.9)));
  const nobody = new Uint8Array(drafterCount);
  expect(model.table(nobody)).toEqual(before);
  const one = Uint8Array.from(nobody, (_, drafter) => Number(drafter === Number(Drafter.recall)));
  expect(model.table(one)[cell]).toBe(before[cell]);
  expect(chanceOf(model.table(one), Drafter.recall, 1, 0.9)).toBeLessThan(0.1);
  expect(model.table()[cell]).toBeLessThan(0.1);
});
