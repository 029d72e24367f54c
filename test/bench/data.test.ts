import { thinned } from '../../bench/common/data';

test('thinning takes the same share of every group, its first prompt too', () => {
  const prompts = ['a', 'b', 'a', 'a', 'b', 'a'].map((group, i) => ({ id: String(i), group, turns: [] }));
  expect(thinned(prompts, 3).map(({ id }) => id)).toEqual(['0', '1', '5']);
  expect(thinned(prompts, 1)).toHaveLength(6);
});
