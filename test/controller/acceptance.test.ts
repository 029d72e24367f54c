import { AcceptanceModel, cellOf } from '../../lib/controller/acceptance';
import type { RowKind } from '../../lib/controller/acceptance';
import { Drafter, policyBuckets } from '../../lib/native';

function firstTokens(kind: RowKind, drafter: Drafter): Float32Array {
  const model = new AcceptanceModel();
  model.see(kind);
  return model.table().slice(cellOf(drafter, 1, 0), cellOf(drafter, 1, policyBuckets));
}

test.each([Drafter.suffix, Drafter.recall, Drafter.head])(
  'before drafter %i has been seen, confidence is nearly a chance, and sampled tokens are harder to guess',
  (drafter) => {
    const greedy = firstTokens('greedy', drafter);
    const sampled = firstTokens('sampled', drafter);
    for (let bucket = 0; bucket < policyBuckets; ++bucket) {
      expect(Math.abs(greedy[bucket] - (bucket + 0.5) / policyBuckets)).toBeLessThan(0.13);
      expect(sampled[bucket]).toBeLessThanOrEqual(greedy[bucket] + 0.01);
      if (bucket > 0) expect(greedy[bucket]).toBeGreaterThanOrEqual(greedy[bucket - 1]);
    }
  },
);

test('what was seen soon weighs more than the prior, and an unseen bucket follows the trust in its drafter', () => {
  const model = new AcceptanceModel();
  model.see('greedy');
  for (let i = 0; i < 40; ++i) model.observe('greedy', Drafter.recall, 1, 0.9, false);
  const table = model.table();
  expect(table[cellOf(Drafter.recall, 1, 14)]).toBeLessThan(0.1);
  expect(table[cellOf(Drafter.recall, 1, 10)]).toBeLessThan(0.2);
  expect(table[cellOf(Drafter.suffix, 1, 14)]).toBeGreaterThan(0.8);
});
