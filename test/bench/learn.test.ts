import type { Answer } from '../../bench/common/answer';
import { armPrices, PassPrices, type Pass } from '../../bench/common/prices';
import { acceptedShares, day0Requests, modelled, worstWindow, type Requests } from '../../bench/learn/requests';

function pass(drafter: string, rows: number, context: number, seconds: number, accepted = 0): Pass {
  return { drafter, rows, context, seconds, accepted };
}

function answer(passes: Pass[], seconds = 1): Answer {
  return { text: '', tokens: [], seconds, counted: 1, gap: 0, prefillSeconds: 0, rounds: passes.length, passes };
}

const times = (count: number, each: Pass): Pass[] => Array.from({ length: count }, () => each);

test('a pass costs the median of those of its drafter, rows and context, whatever it took itself', () => {
  const seen = [
    ...times(5, pass('recall', 4, 300, 2)),
    ...times(4, pass('recall', 4, 400, 30)),
    ...times(20, pass('suffix', 4, 300, 7)),
    ...times(20, pass('recall', 4, 600, 9)),
  ];
  const prices = new PassPrices(seen);
  expect(prices.seconds([pass('recall', 4, 511, 100)])).toBe(2);
  expect(prices.seconds([pass('suffix', 4, 256, 0), pass('recall', 4, 600, 0)])).toBe(16);
});

test('where passes are few, other drafters count too, then other contexts, then what was measured', () => {
  const seen = [
    ...times(7, pass('recall', 4, 300, 2)),
    ...times(9, pass('suffix', 4, 300, 7)),
    ...times(4, pass('recall', 2, 0, 1)),
    ...times(5, pass('recall', 2, 900, 3)),
  ];
  const prices = new PassPrices(seen);
  expect(prices.seconds([pass('recall', 4, 300, 50)])).toBe(7);
  expect(prices.seconds([pass('recall', 2, 0, 50)])).toBe(3);
  expect(prices.seconds([pass('recall', 9, 0, 50)])).toBe(50);
});

test('the worst window is eight requests in a row, all of them where there are fewer', () => {
  const even = { static: 1, learned: 1 };
  const bad = { static: 1, learned: 3 };
  const long = [...Array.from({ length: 12 }, () => even), bad, ...Array.from({ length: 12 }, () => even)];
  expect(worstWindow(long)).toBeCloseTo(8 / 10, 9);
  expect(worstWindow([even, bad])).toBeCloseTo(2 / 4, 9);
});

test('modelled seconds sum each request by its own passes', () => {
  const still = answer(times(8, pass('recall', 2, 0, 3)));
  const learned = answer(times(8, pass('recall', 5, 0, 4)).slice(0, 2));
  const requests = [{ plain: still, static: still, learned, day0: still }];
  const prices = { static: new PassPrices(still.passes), learned: new PassPrices(times(8, pass('recall', 5, 0, 4))) };
  expect(modelled(requests, prices)).toEqual([{ static: 24, learned: 8 }]);
});

test('passes that learning makes slower cost that, whatever the same passes took without', () => {
  const still = answer(times(16, pass('none', 1, 0, 3)));
  const learned = answer(times(16, pass('none', 1, 0, 4)));
  const requests = times(16, pass('none', 1, 0, 3)).map(() => ({ plain: still, static: still, learned, day0: still }));
  expect(worstWindow(modelled(requests, armPrices(requests, ['static', 'learned'])))).toBeCloseTo(0.75);
});

test('day 0 counts requests until plain decoding has been overtaken for good', () => {
  const request = (day0: number): Requests[number] => {
    const plain = answer([], 2);
    return { plain, static: plain, learned: plain, day0: answer([], day0) };
  };
  expect(day0Requests([request(1), request(1)])).toBe(1);
  expect(day0Requests([request(1), request(4), request(1), request(1), request(1)])).toBe(3);
});

test('accepted tokens are shared out by drafter', () => {
  const answers = [answer([pass('recall', 4, 0, 1, 3), pass('none', 1, 0, 1)]), answer([pass('suffix', 2, 0, 1, 1)])];
  expect(acceptedShares(answers)).toEqual({ recall: 0.75, suffix: 0.25 });
});
