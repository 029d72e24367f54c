import { join } from 'node:path';
import { SpeculatorStore } from '../../lib/speculators/store';
import { prompts, tinyModel, until } from './tiny';

const { load, cache } = tinyModel();

jest.setTimeout(600_000);

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
