import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trainHead } from '../../lib/speculators/train-head';
import { prompts, tinyModel } from './tiny';

const tiny = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-head-'));
const request = { maxTokens: 48, ignoreEos: true };
let head = '';

beforeAll(async () => {
  const texts = prompts.map((prompt) => `${prompt} `.repeat(6));
  const options = { cacheFolder: tiny.cache, draftTokens: 64, slots: 3, rank: 4, rowsPerStep: 256, threads: 2 };
  head = (await trainHead(tiny.path, texts, folder, options)).path!;
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a head drafts, and every text stays the same, alone, together and sampled', async () => {
  const plain = await tiny.load({ speculation: false });
  const engine = await tiny.load({ head, memory: false });
  expect(engine.stats().headBytes).toBeGreaterThan(0);
  for (const sampling of [{}, { temperature: 0.8, seed: 3 }]) {
    const expected = await Promise.all(prompts.map((prompt) => plain.generate(prompt, { ...request, ...sampling })));
    const speculation = { speculator: 'head' } as const;
    const together = await Promise.all(
      prompts.map((prompt) => engine.generate(prompt, { ...request, ...sampling, speculation })),
    );
    const alone = await engine.generate(prompts[0], { ...request, ...sampling, explain: true });
    expect(together.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    expect(alone.tokens).toEqual(expected[0].tokens);
  }
  const { headDrafts, headSeconds } = engine.stats();
  expect(headDrafts).toBeGreaterThan(0);
  expect(headSeconds).toBeGreaterThan(0);
  expect(engine.explain()).toContain('A draft of the head costs');
});

test('without a head nobody asks one, and another format of the same weights takes the same head', async () => {
  const without = await tiny.load({ head: false });
  await without.generate(prompts[0], request);
  expect(without.stats()).toMatchObject({ headBytes: 0, headDrafts: 0 });
  expect((await tiny.load()).stats().headBytes).toBe(0); // none ships for this model
  const fp8 = await tiny.load({ head, weights: 'fp8' });
  for (const prompt of prompts) await fp8.generate(prompt, { ...request, speculation: { speculator: 'head' } });
  expect(fp8.stats().headDrafts).toBeGreaterThan(0);
});

test.each(['model', 'tokenizer'])('a head of another %s is refused', async (key) => {
  const bytes = readFileSync(head);
  const at = bytes.indexOf(`"${key}":"`) + key.length + 4;
  bytes[at] = bytes[at] === 0x61 ? 0x62 : 0x61; // another letter of the hash
  const path = join(folder, 'foreign.head.safetensors');
  writeFileSync(path, bytes);
  await expect(tiny.load({ head: path })).rejects.toMatchObject({ code: 'HEAD_MISMATCH' });
});

test('a file that is no head is refused', async () => {
  const path = join(folder, 'no.head.safetensors');
  writeFileSync(path, readFileSync(head).subarray(0, 1000));
  await expect(tiny.load({ head: path })).rejects.toMatchObject({ code: 'TRUNCATED' });
  await expect(tiny.load({ head: 3 as never })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
});
