import { heldShare } from '../../bench/rl';

test('what is held is a share of what there is to be had', () => {
  expect(heldShare(2, 2.3, 2.4)).toBeCloseTo(0.75, 9);
  expect(heldShare(2, 1.9, 2.4)).toBeCloseTo(-0.25, 9);
  expect(heldShare(2, 2.5, 2.4)).toBeCloseTo(1.25, 9);
});

test('where there is nothing to be had, nothing is lost by whoever keeps what static has', () => {
  expect(heldShare(1.3, 1.4, 1.3)).toBe(1);
  expect(heldShare(1.3, 1.3, 1.2)).toBe(1);
  expect(heldShare(1.3, 1.29, 1.31)).toBe(0);
});
