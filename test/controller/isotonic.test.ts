import fc from 'fast-check';
import { isotonic } from '../../lib/controller/isotonic';

const points = fc.array(
  fc.tuple(fc.double({ min: -5, max: 5, noNaN: true }), fc.double({ min: 0.1, max: 9, noNaN: true })),
  {
    minLength: 1,
    maxLength: 20,
  },
);

const error = (fit: ArrayLike<number>, values: number[], weights: number[]): number =>
  values.reduce((sum, value, i) => sum + weights[i] * (value - fit[i]) ** 2, 0);

test('never falls, keeps the weighted sum, and is nearer than any other sequence that never falls', () => {
  fc.assert(
    fc.property(
      points,
      fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 20, maxLength: 20 }),
      (data, other) => {
        const values = data.map(([value]) => value);
        const weights = data.map(([, weight]) => weight);
        const fit = isotonic(values, weights);
        for (let i = 1; i < fit.length; ++i) expect(fit[i]).toBeGreaterThanOrEqual(fit[i - 1]);
        const sum = (list: ArrayLike<number>): number =>
          weights.reduce((total, weight, i) => total + weight * list[i], 0);
        expect(sum(fit)).toBeCloseTo(sum(values), 6);
        const rival = other.slice(0, values.length).sort((a, b) => a - b);
        expect(error(fit, values, weights)).toBeLessThanOrEqual(error(rival, values, weights) + 1e-9);
      },
    ),
  );
});

test('a sequence that rises is left as it is', () => {
  expect(Array.from(isotonic([1, 2, 2, 7], [1, 5, 1, 1]))).toEqual([1, 2, 2, 7]);
});
