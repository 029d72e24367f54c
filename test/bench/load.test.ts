import type { Answer } from '../../bench/common/answer';
import { tokensPerSecond } from '../../bench/load';
import { inBothOrders, spread } from '../../bench/load/pairs';

test('each arm comes first as often as the other', async () => {
  const asked: string[] = [];
  const pairs = await inBothOrders(2, (arm, pair) => {
    asked.push(`${arm} ${pair}`);
    return Promise.resolve(asked.length);
  });
  expect(asked).toEqual(['fast 0', 'plain 0', 'plain 1', 'fast 1', 'fast 2', 'plain 2', 'plain 3', 'fast 3']);
  expect(pairs[1]).toEqual({ plain: 3, fast: 4 });
});

test('whoever comes first being ahead does not show in a median of pairs', async () => {
  let turn = 0;
  const pairs = await inBothOrders(4, () => Promise.resolve(turn++ % 2 ? 1.03 : 1));
  const { median, range } = spread(pairs, ({ plain, fast }) => plain / fast);
  expect(median).toBeCloseTo(1, 3);
  expect(range).toEqual([1 / 1.03, 1.03]);
});

test('tokens a second are of the tokens that came, not of those that were allowed', () => {
  const answer = (length: number): Answer => ({
    ...{ text: '', tokens: Array.from({ length }, () => 1), seconds: 1, counted: length, gap: 0, prefillSeconds: 0 },
    ...{ rounds: length, passes: [] },
  });
  const loads = [
    { seconds: 2, answers: [answer(128), answer(10)] },
    { seconds: 1, answers: [answer(3), answer(9)] },
  ];
  expect(tokensPerSecond(loads)).toBe(50);
});
