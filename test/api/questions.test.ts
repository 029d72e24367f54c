import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Engine } from '../../lib';
import { ownSpeculators } from '../../lib/speculators/folders';
import { selfQuestions } from '../../lib/speculators/questions';
import { trainStatic } from '../../lib/speculators/train-static';
import { tinyModel } from './tiny';

const { load, path, cache } = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-questions-'));
/** The tiny model with another text in its metadata, of the same length. */
function edited(name: string, from: string, to: string): string {
  const bytes = readFileSync(path).toString('latin1');
  expect(to).toHaveLength(from.length);
  expect(bytes).toContain(from);
  writeFileSync(join(folder, name), bytes.replace(from, to), 'latin1');
  return join(folder, name);
}

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a model draws what a user writes where a chat begins, by number, and learns nothing from it', async () => {
  const engine = await load({ memory: false });
  const ask = await selfQuestions(engine);
  const start = engine.tokenize('<|im_start|>user\n', { special: true });
  const drawn = await engine.generate(start, { maxTokens: 160, temperature: 1, topP: 0.95, seed: 3, learn: false });
  const questions = await Promise.all([3, 4, 3].map((index) => ask(index)));
  expect(questions[0]).toBe(drawn.text.trim());
  expect(questions[0]).not.toBe('');
  expect(questions[1]).not.toBe(questions[0]);
  expect(questions[2]).toBe(questions[0]);
  expect(await engine.exportMemory(join(folder, 'nothing'))).toBe(0);
});

test("a question ends where the template ends a user's turn, though no answer would end there", async () => {
  // A letter that these weights write often.
  const file = edited('other-end.gguf', "'<|im_end|>'", "'ffffffffff'");
  const engine = await Engine.load(file, { cacheFolder: cache, memory: false });
  const ask = await selfQuestions(engine);
  const start = engine.tokenize('<|im_start|>user\n', { special: true });
  const [end] = engine.tokenize('f');
  let ended = 0;
  for (let seed = 0; seed < 8; ++seed) {
    const { tokens } = await engine.generate(start, { maxTokens: 160, temperature: 1, topP: 0.95, seed, learn: false });
    const at = tokens.indexOf(end);
    ended += Number(at >= 0);
    expect(await ask(seed)).toBe(engine.detokenize(at < 0 ? tokens : tokens.slice(0, at)).trim());
  }
  expect(ended).toBeGreaterThan(4);
  await engine.close();
});

test('without prompts a model answers its own questions; without a head the memory is all there is', async () => {
  const options = { cacheFolder: cache, parallel: 1, answerTokens: 24, memoryTokens: 200, head: false };
  const out = join(folder, 'out');
  const { memory, head } = await trainStatic(path, undefined, out, options);
  expect(head).toBeUndefined();
  expect(readdirSync(out)).toEqual([basename(memory.path)]);
  expect(memory.tokens).toBeGreaterThan(100);
});

test('what was made lies in the cache folder and is found there: a memory at once, a head where it is asked for', async () => {
  const home = join(folder, 'home');
  const out = ownSpeculators(home);
  const made = {
    parallel: 2,
    answerTokens: 24,
    memoryTokens: 600,
    draftTokens: 64,
    slots: 3,
    rank: 4,
    rowsPerStep: 256,
  };
  await trainStatic(path, undefined, out, { cacheFolder: home, ...made });
  const loaded = await load({ cacheFolder: home });
  expect(loaded.stats()).toMatchObject({ staticMemoryBytes: expect.any(Number) as number, headBytes: 0 });
  expect(loaded.stats().staticMemoryBytes).toBeGreaterThan(0);
  expect((await load({ cacheFolder: home, memory: false })).stats().staticMemoryBytes).toBe(0);
  expect((await load({ cacheFolder: home, head: true })).stats().headBytes).toBeGreaterThan(0);
  expect((await load({ cacheFolder: cache, head: true })).stats()).toMatchObject({
    staticMemoryBytes: 0,
    headBytes: 0,
  });
});

test.each([
  ['has no chat template', 'tokenizer.chat_template', 'tokenizer.chat_nothing_'],
  ["does not show where a user's turn", "message['content']", "'always the same' "],
])('a model that %s is told to be given prompts', async (why, from, to) => {
  const file = edited('spoilt.gguf', from, to);
  const out = join(folder, 'spoilt');
  const attempt = trainStatic(file, undefined, out, { cacheFolder: cache, head: false });
  await expect(attempt).rejects.toMatchObject({ code: 'NO_PROMPTS', message: expect.stringContaining(why) as string });
  expect(readdirSync(out)).toEqual([]);
});
