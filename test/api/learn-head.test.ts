import { mkdtempSync, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine, LearningEvent, LoadOptions } from '../../lib';
import type { LogicalClock } from '../../lib/engine/engine';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { SpeculatorStore } from '../../lib/speculators/store';
import { prompts, steadyClock, tinyHead, tinyModel, until } from './tiny';

const tiny = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-learn-head-'));
const head = tinyHead(tiny, folder);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const request = { maxTokens: 48, ignoreEos: true };

function load(options: LoadOptions, clock?: LogicalClock): Promise<Engine> {
  return tiny.load({ head: head.path, memory: false, ...options }, clock);
}

jest.setTimeout(600_000);

test('a head learns from what is decoded, text by text, and the text stays the same', async () => {
  const events: LearningEvent[] = [];
  const plain = await tiny.load({ speculation: false });
  const engine = await load({ learnHead: true, onEvent: (event) => void ('version' in event && events.push(event)) });
  for (let i = 0; i < 200 && events.length === 0; ++i) {
    const prompt = prompts[i % prompts.length];
    const { tokens } = await engine.generate(prompt, request);
    if (i < prompts.length) expect(tokens).toEqual((await plain.generate(prompt, request)).tokens);
    const { learnedTexts } = engine.stats();
    await until(() => engine.stats().learnedTexts > learnedTexts || engine.stats().learningSteps >= 8 * (i + 1));
  }
  await until(() => engine.stats().learningBacklog === 0); // nothing is decoded any more
  const stats = engine.stats();
  expect(stats.learningLayerSteps).toBeGreaterThan(0);
  expect(stats.learnedTexts).toBeGreaterThan(0);
  expect(stats.learningSteps).toBeGreaterThanOrEqual(32);
  expect(stats.learningTenants).toBe(1);
  expect(stats.learningBytes).toBeGreaterThan(0);
  expect(stats.learningDeviceBytes).toBe(0);
  expect(stats.learningSeconds).toBeGreaterThan(0);
  expect(stats.learningSkipped).toBe(0);
  expect(events[0]).toMatchObject({ kind: 'candidate', tenant: 'default', version: 0 });
  await engine.forget({ tenant: 'default' });
  const forgotten = engine.stats();
  expect(forgotten).toMatchObject({
    learningTenants: 0,
    learningBytes: 0,
    indexBytes: 0,
    kvPagesCached: 0,
    learningBacklog: 0,
  });
  expect(forgotten.learningSteps).toBeGreaterThanOrEqual(stats.learningSteps);
});

test('members of a group are judged by the texts that each of them asked for', async () => {
  const events: LearningEvent[] = [];
  const engine = await load({ learnHead: true, onEvent: (event) => void ('version' in event && events.push(event)) });
  const decision = (): LearningEvent | undefined =>
    events.find(({ kind }) => kind === 'discarded' || kind === 'promoted');
  for (let i = 0; i < 400 && !decision(); ++i) {
    await engine.generate(prompts[i % prompts.length], { ...request, tenant: i % 2 ? 'a' : 'b', group: 'g' });
    await until(() => engine.stats().learnedTexts > i);
  }
  expect(decision()).toMatchObject({ tenant: 'g', group: true, evidence: { tenants: 2 } });
});

test('what may not be learned from is not, and without learning nothing is', async () => {
  const engine = await load({ learnHead: true });
  await engine.generate(prompts[0], { ...request, learn: false });
  await engine.generate(prompts[0], request);
  await until(() => engine.stats().learnedTexts > 0);
  expect(engine.stats().learnedTexts).toBe(1);
  const still = await load({});
  await still.generate(prompts[0], request);
  expect(still.stats()).toMatchObject({ learnedTexts: 0, learningTenants: 0 });
});

test('the weights move: heads that were promoted are judged again, learning goes on, and the text is that of the new weights', async () => {
  const cacheFolder = join(folder, 'moved');
  const other = join(folder, 'other.gguf');
  writeTinyModel(other, { seed: 2 });
  const events: LearningEvent[] = [];
  const engine = await load({
    learnHead: true,
    keepLearned: true,
    cacheFolder,
    onEvent: (event) => void ('version' in event && events.push(event)),
  });
  const store = new SpeculatorStore(cacheFolder, engine.model.sourceHash);
  const write = (path: string): Promise<void> => copyFile(head.path, path);
  await store.promote('default', { origin: 'imported', tenants: [], evidence: {}, write });
  await engine.generate(prompts[0], request);
  await until(() => engine.stats().learnedTexts > 0);
  await engine.updateWeights(other);
  expect(events.at(-1)).toMatchObject({ kind: 'regated', version: 0, evidence: { version: 1 } });
  const plain = await tiny.load({ speculation: false });
  await plain.updateWeights(other);
  const before = engine.stats();
  const speculation = { speculator: 'head' } as const;
  const { tokens } = await engine.generate(prompts[1], { ...request, speculation });
  expect(tokens).toEqual((await plain.generate(prompts[1], request)).tokens);
  await until(
    () => engine.stats().learnedTexts > before.learnedTexts && engine.stats().learningSteps > before.learningSteps,
  );
  expect(engine.stats().learnedTexts).toBe(before.learnedTexts + 1);
  expect(engine.stats().learningSteps).toBeGreaterThan(before.learningSteps);
  await until(() => events.at(-1)?.kind === 'candidate'); // events come behind what is counted
  expect(events.at(-1)).toMatchObject({ kind: 'candidate', version: 0 });
});

test('what a tenant taught is kept and found again by another engine, and nothing of another tenant', async () => {
  const cacheFolder = join(folder, 'cache');
  const first = await load({ keepLearned: true, cacheFolder });
  for (const prompt of prompts) await first.generate(prompt, { ...request, tenant: 'a' });
  await first.close();
  const accepted = async (tenant: string): Promise<number> => {
    const engine = await load({ keepLearned: true, cacheFolder }, steadyClock());
    const { usage } = await engine.generate(prompts[2], { ...request, tenant, speculation: { speculator: 'recall' } });
    await engine.close();
    return usage.acceptedDraftTokens;
  };
  expect(await accepted('a')).toBeGreaterThan(await accepted('b'));
  const remembered = async (tenant: string): Promise<number> => {
    const engine = await load({ keepLearned: true, cacheFolder });
    await engine.generate(prompts[2], { maxTokens: 1, tenant, learn: false }); // its first request finds what was kept
    const tokens = await engine.exportMemory(join(folder, 'remembered.safetensors'), tenant);
    await engine.close();
    return tokens;
  };
  expect(await remembered('a')).toBeGreaterThan(0);
  const last = await load({ keepLearned: true, cacheFolder });
  await last.forget({ tenant: 'a' });
  expect(await remembered('a')).toBe(0);
  await last.close();
  const other = await load({ cacheFolder }); // keeps nothing itself
  await other.forget();
  expect(await remembered('b')).toBeGreaterThan(0);
  await other.forget({ tenant: 'b' });
  expect(await remembered('b')).toBe(0);
});
