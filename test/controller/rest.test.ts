import { Rest } from '../../lib/controller/rest';

/** How many of so many rounds were drafted for. */
function drafted(rest: Rest, rounds: number, saved: number, spent: number): number {
  let count = 0;
  for (let i = 0; i < rounds; ++i) {
    count += rest.resting ? 0 : 1;
    rest.observe(rest.resting ? 0 : saved, rest.resting ? 0 : spent, 1, 1);
  }
  return count;
}

test('drafters that take longer than they save are asked less and less', () => {
  const rest = new Rest();
  expect(drafted(rest, 20_000, 0.1, 0.5)).toBeLessThan(600);
  expect(drafted(rest, 20_000, 0.1, 0.5)).toBeLessThan(400);
});

test('short rounds that still ask when the engine has not heard of the rest count as part of the trial', () => {
  const rest = new Rest();
  const late = 400;
  let lost = 0;
  let since = Infinity; // the rest began, in rounds
  for (let i = 0; i < 400_000; ++i) {
    since = rest.resting ? since + 1 : 0;
    const asked = since < late;
    if (asked) lost += 0.9;
    rest.observe(asked ? 0.1 : 0, asked ? 1 : 0, 1, 1);
  }
  expect(lost / 400_000).toBeLessThan(0.012);
});

test('trials of drafters that take several passes are as rare as they are dear', () => {
  const rest = new Rest();
  let lost = 0;
  for (let i = 0; i < 400_000; ++i) {
    if (rest.resting) rest.observe(0, 0, 1, 1);
    else {
      lost += 5;
      rest.observe(0, 5, 1, 1);
    }
  }
  expect(lost / 400_000).toBeLessThan(0.006);
});

test('rounds in which nobody was asked yet, when a rest is over, are no part of the trial', () => {
  const rest = new Rest();
  let asked = 0;
  let since = 0; // the rest ended, in rounds
  for (let i = 0; i < 40_000; ++i) {
    since = rest.resting ? 0 : since + 1;
    const isAsked = since > 150;
    if (isAsked) asked += 1;
    rest.observe(isAsked ? 0.1 : 0, isAsked ? 0.5 : 0, 1, 1);
  }
  expect(asked).toBeLessThan(1000);
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

test('what a trial may come to cost is limited, whatever is said to have been drafted after it', () => {
  const owing = (late: number): number => {
    const rest = new Rest();
    for (let i = 0; i < 64 + late; ++i) rest.observe(0.1, 1, 1, 1);
    let rounds = 0;
    for (; rest.resting; ++rounds) rest.observe(0, 0, 1, 1);
    return rounds;
  };
  expect(owing(400)).toBeGreaterThan(5 * owing(0));
  expect(owing(100_000)).toBeLessThan(17 * owing(0));
});
