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
