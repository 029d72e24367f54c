import { Asking } from '../../lib/controller/asking';
import { promiseBuckets } from '../../lib/native';
import { random } from '../../bench/common/stats';

/** Drafts of the head in all buckets that promise 0.4 tokens each; what comes of one is drawn. */
function ask(drafts: number, draw: (next: () => number) => number): Asking {
  const asking = new Asking();
  const next = random(7);
  for (let i = 0; i < drafts; ++i) {
    asking.observeRound(1, 2);
    asking.observe(i % promiseBuckets, { promised: 0.4, tokens: draw(next), passes: 0 });
  }
  return asking;
}

test('a head that keeps its promises is asked in every round, one that does not seldom', () => {
  const good = ask(2000, (next) => (next() < 0.4 ? 1 : 0)).table(0.1);
  const idle = ask(2000, () => 0).table(0.1);
  expect(Array.from(good)).toEqual(Array(promiseBuckets).fill(1));
  expect(Math.min(...idle)).toBeGreaterThan(32);
});

test('promises alone are no gain: the plan that promises more may bring as much less as more', () => {
  const asking = ask(2000, (next) => (next() < 0.5 ? 1 : -1));
  for (let bucket = 0; bucket < promiseBuckets; ++bucket) expect(asking.gainOf(bucket)).toBeLessThan(0.1);
});

test('what a plan takes to verify counts against it', () => {
  const asking = new Asking();
  for (let i = 0; i < 500; ++i) {
    asking.observeRound(1, 2);
    asking.observe(0, { promised: 1, tokens: 1, passes: 0.5 });
  }
  expect(asking.gainOf(0)).toBeLessThan(0.05);
});

test('it is tried the more rarely the further it is from paying, and never left for good', () => {
  const asking = new Asking();
  const [near, far, hopeless] = [0.15, 0.3, 100].map((price) => asking.table(price)[1]);
  expect(near).toBeLessThan(far);
  expect(far).toBeLessThan(hopeless);
  expect(hopeless).toBe(1024);
  expect(asking.table(0.01)[1]).toBe(1);
});

test('a head that has become better is asked again', () => {
  const asking = ask(2000, () => 0);
  const before = asking.table(0.1)[0];
  for (let i = 0; i < 200; ++i) asking.observe(0, { promised: 0.6, tokens: i % 2, passes: 0 });
  expect(before).toBeGreaterThan(1);
  expect(asking.table(0.1)[0]).toBe(1);
});
