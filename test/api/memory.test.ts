import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ForetokenError } from '../../lib';
import { readPrompts } from '../../lib/speculators/prompts';
import { trainStatic } from '../../lib/speculators/train-static';
import { loadMemory, readMemory, writeMemory } from '../../lib/speculators/memory';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { prompts, steadyClock, tinyModel } from './tiny';

const { load, path, cache } = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-memory-'));
const request = { maxTokens: 48, ignoreEos: true };
let sourceHash = '';
let file = '';

beforeAll(async () => {
  const teacher = await load();
  sourceHash = teacher.model.sourceHash;
  for (const prompt of prompts) await teacher.generate(prompt, { ...request, tenant: 'a', learn: 'answer' });
  file = join(folder, 'a.memory.safetensors');
  expect(await teacher.exportMemory(file, 'a')).toBeGreaterThan(40 * prompts.length);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a memory lets the first request of a fresh engine accept drafts, and its text stays the same', async () => {
  const without = await load({ memory: false }, steadyClock());
  const withMemory = await load({ memory: file }, steadyClock());
  expect(withMemory.stats().staticMemoryBytes).toBeGreaterThan(0);
  expect(without.stats().staticMemoryBytes).toBe(0);
  const accepted = { without: 0, withMemory: 0 };
  for (const prompt of prompts) {
    const plain = await without.generate(prompt, { ...request, learn: false });
    const fast = await withMemory.generate(prompt, { ...request, learn: false });
    expect(fast.tokens).toEqual(plain.tokens);
    accepted.without += plain.usage.acceptedDraftTokens;
    accepted.withMemory += fast.usage.acceptedDraftTokens;
  }
  expect(accepted.withMemory).toBeGreaterThan(accepted.without);
});

test("learn: 'answer' keeps what the model wrote and nothing of the prompt; learn: false keeps nothing", async () => {
  const engine = await load({ memory: false });
  const prompt = Int32Array.from({ length: 40 }, (_, i) => (i * 7) % 30);
  const { tokens } = await engine.generate(prompt, { ...request, tenant: 'b', learn: 'answer' });
  await engine.generate(prompts[0], { ...request, tenant: 'c', learn: false });
  const path = join(folder, 'b.memory.safetensors');
  await engine.exportMemory(path, 'b');
  expect([...(await readMemory(path, sourceHash)).tokens]).toEqual([...tokens, -1]);
  expect(await engine.exportMemory(join(folder, 'c.memory.safetensors'), 'c')).toBe(0);
});

test('what was read is written and read back to the byte', async () => {
  const path = join(folder, 'bytes.memory.safetensors');
  const memory = await readMemory(file, sourceHash);
  await writeMemory(path, memory, 'hash');
  expect(await readMemory(path, 'hash')).toEqual(memory);
});

test('two exports to one place at a time both end well, and leave nothing beside the file', async () => {
  const engine = await load();
  await engine.generate(prompts[0], request);
  const place = join(folder, 'twice');
  const path = join(place, 'default.memory.safetensors');
  const tokens = await Promise.all([1, 2, 3].map(() => engine.exportMemory(path)));
  expect(readdirSync(place)).toEqual(['default.memory.safetensors']);
  expect((await readMemory(path, sourceHash)).tokens).toHaveLength(tokens[0]);
});

test.each([
  ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 1)],
  ['too long', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(20)])],
  ['empty', () => Buffer.alloc(0)],
  ['with a header longer than itself', (bytes: Buffer) => Buffer.concat([Buffer.alloc(8, 0xff), bytes.subarray(8)])],
  ['with a header that is no JSON', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 8), Buffer.alloc(500, 0x7b)])],
])('a file %s is refused with a code', async (_, spoil) => {
  const path = join(folder, 'spoilt.memory.safetensors');
  writeFileSync(path, spoil(readFileSync(file)));
  await expect(load({ memory: path })).rejects.toMatchObject({ code: 'MEMORY_INVALID' });
});

test('a memory that was exported after an update of the weights is refused for those of the file', async () => {
  const engine = await load();
  await engine.generate(prompts[0], request);
  const before = join(folder, 'before.memory.safetensors');
  const after = join(folder, 'after.memory.safetensors');
  await engine.exportMemory(before);
  const updated = join(folder, 'updated.gguf');
  writeTinyModel(updated, { seed: 2 });
  await engine.updateWeights(updated);
  const { sourceHash: moved } = engine.model;
  expect(moved).toMatch(/^[0-9a-f]{32}$/);
  expect(moved).not.toBe(sourceHash);
  await engine.exportMemory(after);
  await load({ memory: before });
  await expect(load({ memory: after })).rejects.toMatchObject({ code: 'MEMORY_MISMATCH' });
  // The same updates make the same weights.
  const twin = await load();
  await twin.updateWeights(updated);
  expect(twin.model.sourceHash).toBe(moved);
  await twin.updateWeights(updated);
  expect(twin.model.sourceHash).not.toBe(moved);
});

test("another model's memory is refused, and so is one that is not there", async () => {
  const path = join(folder, 'other.memory.safetensors');
  await writeMemory(path, { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) }, 'another hash');
  await expect(load({ memory: path })).rejects.toMatchObject({ code: 'MEMORY_MISMATCH' });
  await expect(load({ memory: join(folder, 'nowhere') })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
});

test('a token outside of the vocabulary is refused', async () => {
  const path = join(folder, 'large.memory.safetensors');
  await writeMemory(path, { tokens: Int32Array.from([1 << 30, -1]), keys: new Uint8Array(32) }, sourceHash);
  await expect(load({ memory: path })).rejects.toMatchObject({ code: 'MEMORY_INVALID' });
});

test('training fills a memory from files of prompts', async () => {
  writeFileSync(join(folder, 'one.jsonl'), '{"turns": ["abc", "def"]}\n{"prompt": "ghi"}\n\n{"question": "abc"}\n');
  writeFileSync(join(folder, 'two.txt'), 'first\nparagraph\n\nsecond');
  const read = await readPrompts([join(folder, 'one.jsonl'), join(folder, 'two.txt')]);
  expect(read).toEqual(['abc', 'ghi', 'first\nparagraph', 'second']);
  await expect(readPrompts([join(folder, 'none')])).rejects.toMatchObject({ code: 'PROMPTS_INVALID' });
});

test.each(['null', '5', '[1]', '{'])('a line of prompts that is %s is refused by its number', async (line) => {
  const spoilt = join(folder, 'spoilt.jsonl');
  writeFileSync(spoilt, `{"prompt": "a"}\n\n${line}\n`);
  const message = expect.stringContaining(`${spoilt}, line 3 is no JSON`) as string;
  await expect(readPrompts([spoilt])).rejects.toMatchObject({ code: 'PROMPTS_INVALID', message });
});

test('static training answers prompts, learns from answers and texts, and goes on where it was', async () => {
  const asked = Array.from({ length: 30 }, (_, i) => `${prompts[i % prompts.length]} ${i}`);
  const out = join(folder, 'static');
  const options = {
    ...{ cacheFolder: cache, parallel: 2, answerTokens: 24, texts: [prompts.join(' ').repeat(4)] },
    ...{ draftTokens: 64, slots: 3, rank: 4, rowsPerStep: 256 },
  };
  const first = await trainStatic(path, asked, out, { ...options, maxSeconds: 0 });
  expect(first.head!.path).toBeUndefined();
  const begun = readFileSync(first.memory.path);
  const { model } = first.head!;
  const others = trainStatic(path, asked.slice(1), out, options);
  await expect(others).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH', file: join(out, `${model}.answers.json`) });
  const shorter = trainStatic(path, asked, out, { ...options, answerTokens: 16 });
  await expect(shorter).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' });
  const last = await trainStatic(path, asked, out, options);
  expect(last.head).toMatchObject({ step: last.head!.steps, heldBack: 1 });
  expect(last.head!.texts).toBeGreaterThan(asked.length - 1); // answers, and pieces of the text
  expect(readFileSync(last.memory.path).equals(begun)).toBe(true);
  expect((await readMemory(last.memory.path, sourceHash)).tokens.length).toBe(last.memory.tokens);
  const made = ['head.json', 'head.safetensors', 'head.svg', 'memory.safetensors'].map((kind) => `${model}.${kind}`);
  expect(readdirSync(out).sort()).toEqual(made);
  expect(readFileSync(join(out, `${model}.head.svg`), 'utf8')).toContain('acceptance length');
});

test('prompts that the context has no room for are left out; where nothing is learned, the memory before it stays', async () => {
  const out = join(folder, 'long');
  const options = { cacheFolder: cache, parallel: 2, answerTokens: 24, head: false };
  const tooLong = 'too long '.repeat(2048);
  const { memory } = await trainStatic(path, [prompts[0], tooLong, prompts[1]], out, options);
  expect(memory).toMatchObject({ tooLong: 1, loops: expect.any(Number) as number });
  expect(memory.tokens).toBeGreaterThan(24);
  const before = readFileSync(memory.path);
  const nothing = trainStatic(path, [tooLong], out, options);
  await expect(nothing).rejects.toMatchObject({ code: 'NOTHING_LEARNED' });
  expect(readFileSync(memory.path).equals(before)).toBe(true);
  expect(readdirSync(out)).toEqual([basename(memory.path)]);
});

test.each(['{', 'null', '{"run": "", "answers": {"path": "", "tokens": 1, "loops": 0, "texts": [null]}}'])(
  'answers of a run that was interrupted, and are %s now, are refused with a code',
  async (spoilt) => {
    const out = join(folder, 'damaged');
    mkdirSync(out, { recursive: true });
    const file = join(out, `${sourceHash}.answers.json`);
    writeFileSync(file, spoilt);
    const run = trainStatic(path, prompts, out, { cacheFolder: cache, head: false });
    await expect(run).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID', file });
  },
);

test("a model is never trained on another one's answers", async () => {
  const out = join(folder, 'two');
  const options = {
    cacheFolder: cache,
    parallel: 2,
    answerTokens: 16,
    draftTokens: 64,
    slots: 3,
    rank: 4,
    maxSeconds: 0,
  };
  await expect(trainStatic(path, prompts, join(file, 'x'), options)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  const other = join(folder, 'another.gguf');
  writeTinyModel(other, { seed: 3 });
  const first = await trainStatic(path, prompts, out, options);
  const second = await trainStatic(other, prompts, out, options);
  expect(second.memory.path).not.toBe(first.memory.path);
  const answers = [first, second].map(({ head }) => `${head!.model}.answers.json`);
  expect(readdirSync(out)).toEqual(expect.arrayContaining(answers));
});

test('where memory is lacking that is said, not that the file is spoilt', async () => {
  const lacking = Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' });
  const native = { info: () => ({ sourceHash }), setStaticMemory: () => Promise.reject(lacking) };
  const error: unknown = await loadMemory(native as never, file, cache).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ForetokenError);
  expect(error).toMatchObject({ code: 'OUT_OF_MEMORY' });
});
