import { join } from 'node:path';
import type { Engine } from '../../lib';
import { readMemory } from '../../lib/speculators/memory';
import { SpeculatorStore } from '../../lib/speculators/store';
import { prompts, tinyModel, until } from './tiny';

const { load, cache } = tinyModel();

jest.setTimeout(600_000);

/** Twelve tenants whose texts do not fit beside each other. */
const crowded = { memory: false, indexBytes: 4 << 20, maxSequences: 1, contextLength: 256 };
async function crowd(engine: Engine): Promise<void> {
  for (let i = 0; i < 12; ++i)
    await engine.generate(prompts[i % prompts.length], { tenant: `other ${i}`, maxTokens: 20, ignoreEos: true });
}

test("text that makes room for others' is kept on disk, and found again with the tenant's next request", async () => {
  const engine = await load({ ...crowded, keepLearned: true });
  const remembered = (tenant: string): Promise<number> => engine.exportMemory(join(cache, 'exported'), tenant);
  for (const prompt of prompts) await engine.generate(prompt, { tenant: 'lost', maxTokens: 20, ignoreEos: true });
  const taught = await remembered('lost');
  const store = new SpeculatorStore(cache, engine.model.sourceHash);
  await crowd(engine);
  expect(engine.stats().droppedTexts).toBeGreaterThan(0);
  expect(engine.stats().indexBytes).toBeLessThan(4 << 20);
  expect((await readMemory(store.memoryPath('lost')!, store.model)).tokens).toHaveLength(taught);
  await engine.generate([5], { tenant: 'lost', maxTokens: 1, learn: false });
  expect(await remembered('lost')).toBe(taught);
  await crowd(engine);
  await engine.generate([5, 6, 7], { tenant: 'lost', maxTokens: 1 });
  await engine.close();
  const { tokens } = await readMemory(store.memoryPath('lost')!, store.model);
  expect(tokens.length).toBeGreaterThan(taught);
});

test("without keepLearned text that makes room for others' is forgotten, and counted", async () => {
  const engine = await load(crowded);
  await engine.generate(prompts[0], { tenant: 'lost', maxTokens: 20, ignoreEos: true });
  await crowd(engine);
  expect(engine.stats().droppedTexts).toBeGreaterThan(0);
  expect(await engine.exportMemory(join(cache, 'exported'), 'lost')).toBe(0);
});

test('a tenant that thousands have come after is let go of, and found again with its next request', async () => {
  const engine = await load({ keepLearned: true, memory: false });
  const exported = join(cache, 'exported.safetensors');
  const remembered = (tenant: string): Promise<number> => engine.exportMemory(exported, tenant);
  for (const prompt of prompts) await engine.generate(prompt, { tenant: 'first', maxTokens: 20, ignoreEos: true });
  const taught = await remembered('first');
  expect(taught).toBeGreaterThan(100);
  const store = new SpeculatorStore(cache, engine.model.sourceHash);
  expect(store.memoryPath('first')).toBeUndefined();
  const passing = { maxTokens: 1, learn: false };
  for (let i = 0; i < 4200; i += 60) {
    const names = Array.from({ length: 60 }, (_, k) => `passing ${i + k}`);
    await Promise.all(names.map((tenant) => engine.generate([5], { ...passing, tenant })));
  }
  await until(() => store.memoryPath('first') !== undefined);
  let left = taught;
  for (let i = 0; i < 100 && left > 0; ++i) left = await remembered('first');
  expect(left).toBe(0);
  await engine.generate([5], { ...passing, tenant: 'first' });
  expect(await remembered('first')).toBe(taught);
  await engine.close();
});
