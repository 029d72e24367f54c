import { random } from '../../bench/common/stats';
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
    while (!rest.resting) rest.observe(0.1, 1, 1, 1);
    for (let i = 0; i < late; ++i) rest.observe(0.1, 1, 1, 1);
    let rounds = 0;
    for (; rest.resting; ++rounds) rest.observe(0, 0, 1, 1);
    return rounds;
  };
  expect(owing(400)).toBeGreaterThan(5 * owing(0));
  expect(owing(100_000)).toBeLessThan(65 * owing(0));
});

/** Drafts come in bursts: answers of a hundred rounds, easy or hard ones, and luck in each round. */
function gained(easy: number, hard: number, spent: number): number {
  const next = random(3);
  const rest = new Rest();
  const rounds = 200_000;
  let gain = 0;
  let chance = 0;
  for (let i = 0; i < rounds; ++i) {
    if (i % 100 === 0) chance = next() < 0.7 ? easy : hard;
    if (rest.resting) {
      rest.observe(0, 0, 1, 1);
      continue;
    }
    const accepted = next() < chance ? 1 + Math.floor(2 * next()) : 0;
    const saved = accepted > 0 ? accepted - 0.3 : next() < 0.15 ? -0.4 : 0;
    gain += saved - spent;
    rest.observe(saved, spent, 1 + accepted, 1 + accepted);
  }
  return gain / rounds;
}

test('luck and hard answers do not put drafters to rest that pay on the whole', () => {
  const always = 0.7 * (0.25 * 1.2 - 0.75 * 0.15 * 0.4) + 0.3 * (0.03 * 1.2 - 0.97 * 0.15 * 0.4) - 0.08;
  expect(gained(0.25, 0.03, 0.08)).toBeGreaterThan(0.8 * always);
  expect(gained(0.03, 0.03, 0.08)).toBeGreaterThan(-0.003);
});
