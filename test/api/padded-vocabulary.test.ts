import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';

/** The fixture has rows for 131 tokens; the tokenizer gives 100 of them a text, the last ones are padding, and one it knows has no row. */
const rows = 131;
const added = { id: rows + 4, content: '[ADDED]', special: true };
const words = Array.from({ length: 100 }, (_, i) => `w${i}`);

let folder: string;
let engine: Engine;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-padded-'));
  cpSync(join(__dirname, '../fixtures/models/tied-f32'), folder, { recursive: true });
  const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({ model: { type: 'BPE', vocab, merges: [] }, added_tokens: [added] }),
  );
  engine = await Engine.load(folder, { cacheFolder: join(folder, 'cache'), threads: 1 });
});

afterAll(async () => {
  await engine?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('tokens that pad the vocabulary have no text, and are tokens all the same', async () => {
  expect(engine.model.vocabulary).toBe(rows);
  const pad = rows - 1;
  const wanted = { maxTokens: 3, ignoreEos: true, logitBias: { [pad]: 1000 } };
  const { tokens, text } = await engine.generate([1, 2], wanted);
  expect([...tokens]).toEqual([pad, pad, pad]);
  expect(text).toBe('');
  expect(engine.detokenize(tokens)).toBe('');
  expect((await engine.generate(tokens, { maxTokens: 1, logitBias: { [pad]: -Infinity } })).tokens).not.toContain(pad);
  expect((await engine.generate([1], { ...wanted, stopTokens: [pad] })).finishReason).toBe('stop');
  const texts = Object.fromEntries(words.map((_, id) => [id, -Infinity]));
  const padding = await engine.generate([1], { maxTokens: 2, ignoreEos: true, logitBias: texts });
  expect(Math.min(...padding.tokens)).toBeGreaterThanOrEqual(words.length);
});

test('what was a text is one again, though the model has no row for it', () => {
  expect(engine.detokenize(engine.tokenize(added.content, { special: true }), { special: true })).toBe(added.content);
});

test('tokens beyond the padding are refused', async () => {
  const refused = { code: 'INVALID_OPTION', message: expect.stringContaining(`0..${rows - 1}`) as string };
  await expect(engine.generate([1], { logitBias: { [rows]: 1 } })).rejects.toMatchObject(refused);
  await expect(engine.generate([1], { stopTokens: [rows] })).rejects.toMatchObject(refused);
  await expect(engine.generate([rows])).rejects.toMatchObject({ code: 'INVALID_PROMPT' });
  expect(() => engine.detokenize([added.id + 1])).toThrow(expect.objectContaining({ code: 'INVALID_PROMPT' }));
});
