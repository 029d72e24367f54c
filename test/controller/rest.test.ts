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
  expect(drafted(new Rest(), 5000, -0.01, 0.009)).toBe(5000);
});

test('a trial that pays ends the rests', () => {
  const rest = new Rest();
  drafted(rest, 3000, 0, 1);
  expect(drafted(rest, 20_000, 2, 1)).toBeGreaterThan(15_000);
});

test('drafters that save nothing cost next to nothing, and the cheaper they are, the sooner they are tried again', () => {
  for (const spent of [0.02, 0.05, 0.2, 1]) {
    const rest = new Rest();
    const rounds = 20_000;
    const asked = drafted(rest, rounds, 0, spent);
    expect((spent * asked) / rounds).toBeLessThan(0.025);
    if (spent < 0.1) expect(asked).toBeGreaterThan(rounds / 40);
  }
});
