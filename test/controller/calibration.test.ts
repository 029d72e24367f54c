import { Calibration } from '../../lib/controller/calibration';

test('nothing drafted, no error', () => {
  expect(new Calibration().error).toBe(0);
});

test('the error is the gap between promised and accepted, weighted by tokens, bin by bin', () => {
  const calibration = new Calibration();
  for (let i = 0; i < 30; ++i) calibration.add(0.82, i < 24);
  expect(calibration.error).toBeCloseTo(0.02, 9);
  for (let i = 0; i < 10; ++i) calibration.add(0.31, i < 7);
  expect(calibration.error).toBeCloseTo((30 * 0.02 + 10 * 0.39) / 40, 9);
});

test('promises that are too high in one bin are not made good by those too low in another', () => {
  const calibration = new Calibration();
  for (let i = 0; i < 10; ++i) calibration.add(0.9, i < 5);
  for (let i = 0; i < 10; ++i) calibration.add(0.1, i < 5);
  expect(calibration.error).toBeCloseTo(0.4, 9);
});

test('certainty has a bin too', () => {
  const calibration = new Calibration();
  calibration.add(1, true);
  calibration.add(0, false);
  expect(calibration.error).toBe(0);
});

test('rounds that take what was promised for the tokens that came have no error, whatever came in each', () => {
  const calibration = new Calibration();
  expect(calibration.secondsError).toBe(0);
  for (let i = 0; i < 40; ++i) calibration.addRound(1.5, i % 2 ? 1 : 2, 3e-3, 3e-3);
  expect(calibration.secondsError).toBeCloseTo(0, 9);
});

test('the error in seconds is that of tokens promised too dear or too cheap, weighted by seconds', () => {
  const calibration = new Calibration();
  for (let i = 0; i < 10; ++i) calibration.addRound(1, 1, 1e-3, 1e-3);
  for (let i = 0; i < 10; ++i) calibration.addRound(3, 2, 3e-3, 3e-3); // promised 1 ms a token, took 1.5
  expect(calibration.secondsError).toBeCloseTo(10 / 40, 9);
});
