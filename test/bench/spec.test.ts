import { NativeRunner } from '../../bench/common/runner';
import { random } from '../../bench/common/stats';
import { noise } from '../../bench/spec';
import { FixedLookahead } from '../../bench/spec/fixed';
import { loadBinding } from '../../lib/binding';
import { checkLoadOptions } from '../../lib/engine/load-options';
import { openModel } from '../../lib/engine/model-source';
import { ownSpeculators } from '../../lib/speculators/folders';
import { tinyHead, tinyModel } from '../api/tiny';

const tiny = tinyModel();
tinyHead(tiny, ownSpeculators(tiny.cache));

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

test('fixed lookaheads draft with the head that the controller has, and without one where it has none', async () => {
  const source = await openModel(tiny.path, checkLoadOptions({ cacheFolder: tiny.cache }), loadBinding());
  const loaded = jest.spyOn(NativeRunner, 'load');
  for (const head of [true, false]) {
    const fixed = await FixedLookahead.load({ weights: ['auto'], threads: 2, head }, source);
    const { engine } = await (loaded.mock.results.at(-1)!.value as ReturnType<typeof NativeRunner.load>);
    await fixed.answer([{ role: 'user', content: 'one two three' }], 4, 'test', 32);
    const { headBytes, headDrafts } = engine.stats();
    await fixed.close();
    expect([headBytes > 0, headDrafts > 0]).toEqual([head, head]);
  }
  loaded.mockRestore();
});
