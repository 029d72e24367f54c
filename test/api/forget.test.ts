import { mkdtempSync, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';
import type { Learned, RequestOptions, Usage } from '../../lib';
import { SpeculatorStore } from '../../lib/speculators/store';
import { givenPrices, prompts, tinyHead, tinyModel, until } from './tiny';

const tiny = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-forget-'));
const head = tinyHead(tiny, folder);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

jest.setTimeout(600_000);

const prompt = prompts.join(' ').repeat(2);
const request: RequestOptions = { tenant: 'a', maxTokens: 48, ignoreEos: true };

test.each<[string, RequestOptions, Learned | undefined]>([
  ['its tenant is', {}, { tenant: 'a' }],
  ['its tenant is, who speaks in a group,', { group: 'team' }, { tenant: 'a' }],
  ['its group is', { group: 'team' }, { group: 'team' }],
  ['its session is', { session: 'talk' }, { tenant: 'a', session: 'talk' }],
  ['everything is', {}, undefined],
])('a request that has only begun when %s forgotten teaches nothing', async (_, whose, what) => {
  /** What a second request finds of one before it, which was forgotten as it began, or not. */
  const found = async (isForgotten: boolean): Promise<Usage> => {
    const load = { cacheFolder: join(folder, `${_} ${isForgotten}`), threads: 2, memory: false, keepLearned: true };
    const engine = await Engine.load(tiny.path, load, { profile: givenPrices, now: () => 0 });
    const asked = engine.generate(prompt, { ...request, ...whose });
    if (isForgotten) await engine.forget(what);
    const { text } = await asked;
    expect(text).not.toBe('');
    expect(engine.stats().tenants['a'].completionTokens).toBe(48);
    const speculation = { speculator: 'recall' } as const;
    const { usage } = await engine.generate(prompt, { ...request, ...whose, learn: false, speculation });
    await engine.close();
    return usage;
  };
  const fresh = await Engine.load(
    tiny.path,
    { cacheFolder: folder, threads: 2, memory: false },
    { profile: givenPrices, now: () => 0 },
  );
  const speculation = { speculator: 'recall' } as const;
  const { usage: untaught } = await fresh.generate(prompt, { ...request, ...whose, learn: false, speculation });
  await fresh.close();
  const taught = await found(false);
  expect(taught.acceptedDraftTokens).toBeGreaterThan(untaught.acceptedDraftTokens);
  expect(taught.cachedPromptTokens).toBeGreaterThan(0);
  expect(await found(true)).toEqual(untaught);
});

test("a head that was imported from a tenant's goes with that tenant, from memory too; what the other one said stays", async () => {
  const cacheFolder = join(folder, 'imported');
  const engine = await tiny.load({ cacheFolder, head: head.path, learnHead: true, keepLearned: true, memory: false });
  const store = new SpeculatorStore(cacheFolder, engine.model.sourceHash);
  const write = (path: string): Promise<void> => copyFile(head.path, path);
  await store.promote('b', { origin: 'imported', tenants: ['a'], evidence: {}, write });
  await engine.generate(prompts[0], { ...request, tenant: 'b' });
  await until(() => engine.stats().learningTenants === 1);
  const exported = join(folder, 'exported');
  const remembered = await engine.exportMemory(exported, 'b');
  expect(remembered).toBeGreaterThan(0);
  await engine.forget({ tenant: 'a' });
  expect(engine.stats().learningTenants).toBe(0);
  expect((await store.manifest('b')).versions).toEqual([]);
  await engine.generate([5], { tenant: 'b', maxTokens: 1, learn: false });
  expect(await engine.exportMemory(exported, 'b')).toBe(remembered);
});
