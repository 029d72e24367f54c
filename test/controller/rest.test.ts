import { Rest } from '../../lib/controller/rest';

/** How many of so many rounds were drafted for. */
function drafted(rest: Rest, rounds: number, saved: number, spent: number): number {
  let count = 0;
  for (let i = 0; i < rounds; ++i) {
    count += rest.resting ? 0 : 1;
    rest.observe(rest.resting ? 0 : saved, rest.resting ? 0 : spent, 1);
  }
  return count;
}

test('drafters that take longer than they save are asked less and less', () => {
  const rest = new Rest();
  expect(drafted(rest, 20_000, 0.1, 0.5)).toBeLessThan(600);
  expect(drafted(rest, 20_000, 0.1, 0.5)).toBeLessThan(400);
});

test('drafters that save more, or cost next to nothing, are always asked', () => {
  expect(drafted(new Rest(), 5000, 0.6, 0.5)).toBe(5000);
  expect(drafted(new Rest(), 5000, -0.01, 0.02)).toBe(5000);
});

test('a trial that pays ends the rests', () => {
  const rest = new Rest();
  drafted(rest, 3000, 0, 1);
  expect(drafted(rest, 20_000, 2, 1)).toBeGreaterThan(15_000);
});
