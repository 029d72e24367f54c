import { random } from '../../bench/common/stats';
import { noise } from '../../bench/spec';

test('random text is made of ids that the vocabulary has', () => {
  for (const vocabulary of [300, 1000, 32_000, 41_000, 49_152, 128_256]) {
    const ids = noise(random(3), vocabulary, 5000);
    expect(ids).toHaveLength(5000);
    expect(Math.min(...ids)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...ids)).toBeLessThan(vocabulary);
    expect(new Set(ids).size).toBeGreaterThan(290);
  }
});

test("the default model's random text stays what it was", () => {
  const next = random(3);
  const before = Array.from({ length: 64 }, () => 1000 + Math.floor(next() * 40_000));
  expect(noise(random(3), 49_152, 64)).toEqual(before);
});
