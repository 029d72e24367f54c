import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBinding } from '../../lib/binding';
import { Engine } from '../../lib';
import type { GenerateResult, WeightTensor } from '../../lib';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { prompts, tinyModel } from './tiny';

const { load, path, cache } = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-update-'));
const other = join(folder, 'other.gguf');
const request = { maxTokens: 40, ignoreEos: true, logprobs: 2 };

beforeAll(() => writeTinyModel(other, { seed: 2 }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** All tensors of a file as a training loop would hold them. */
function tensorsOf(file: string): WeightTensor[] {
  const binding = loadBinding();
  return binding.readTensors(file).map(({ name, shape }) => {
    return { name, dtype: 'F32', shape, data: binding.readTensor(file, name) };
  });
}

async function answers(engine: Engine): Promise<unknown[]> {
  const results = await Promise.all(prompts.map((prompt) => engine.generate(prompt, request)));
  return results.map(({ tokens, logprobs }) => ({ tokens, logprobs }));
}

test.each([
  ['a file', 'auto', () => other],
  ['tensors in memory', 'bf16', () => tensorsOf(other)],
] as const)(
  'after an update from %s the text is that of an engine loaded with the new weights',
  async (_, weights, from) => {
    const engine = await load({ weights });
    const fresh = await Engine.load(other, { cacheFolder: cache, threads: 2, weights, speculation: false });
    const before = await answers(engine);
    const update = await engine.updateWeights(from());
    expect(update).toMatchObject({ version: 1, tensors: loadBinding().readTensors(other).length });
    expect(update.bytes).toBeGreaterThan(100_000);
    expect(engine.stats()).toMatchObject({ weightsVersion: 1, weightsHeld: 1 });
    const after = await answers(engine);
    expect(after).toEqual(await answers(fresh));
    expect(after).not.toEqual(before);
    await engine.updateWeights(path);
    expect(await answers(engine)).toEqual(before);
    await fresh.close();
  },
);

/** Versions in memory once the engine has seen that nobody needs the old ones: counts may be a round old. */
async function heldAtLast(engine: Engine): Promise<number> {
  for (let i = 0; i < 50 && engine.stats().weightsHeld > 1; ++i) await engine.generate(prompts[0], { maxTokens: 1 });
  return engine.stats().weightsHeld;
}

/** Starts a request of `length` tokens and waits for its first chunk. */
async function begun(engine: Engine, length: number): Promise<{ head: number[]; rest: () => Promise<GenerateResult> }> {
  const stream = engine.stream(prompts[1], { maxTokens: length, ignoreEos: true });
  const iterator = stream[Symbol.asyncIterator]();
  const first = await iterator.next();
  const head = first.done ? [] : first.value.tokens;
  const rest = async (): Promise<GenerateResult> => {
    for (let next = await iterator.next(); !next.done; next = await iterator.next());
    return stream.result;
  };
  return { head, rest };
}

test('a request that has begun finishes on the old weights, which are then let go', async () => {
  const engine = await load({ runAhead: 4 });
  const expected = await engine.generate(prompts[1], { maxTokens: 200, ignoreEos: true });
  const { rest } = await begun(engine, 200);
  await engine.updateWeights(other, { inFlight: 'finish' });
  expect(engine.stats()).toMatchObject({ weightsVersion: 1, weightsHeld: 2 });
  const renewed = await engine.generate(prompts[1], request);
  expect(renewed.tokens).not.toEqual(expected.tokens.slice(0, 40));
  expect(renewed.weights).toEqual([{ version: 1, from: 0 }]);
  expect(await rest()).toMatchObject({ tokens: expected.tokens, weights: [{ version: 0, from: 0 }] });
  expect(await heldAtLast(engine)).toBe(1);
});

test('a request that restarts goes on as the new weights go on from its text so far', async () => {
  const engine = await load({ runAhead: 4 });
  const old = await engine.generate(prompts[1], { maxTokens: 200, ignoreEos: true });
  const { rest } = await begun(engine, 200);
  await engine.updateWeights(other, { inFlight: 'restart' });
  expect(engine.stats().weightsHeld).toBe(1);
  const { tokens, weights } = await rest();
  expect(tokens).toHaveLength(200);
  // How far the old weights got depends on the rounds' lengths; back-pressure holds them short of the end.
  const kept = weights[1].from;
  expect(kept).toBeGreaterThan(0);
  expect(weights).toEqual([
    { version: 0, from: 0 },
    { version: 1, from: kept },
  ]);
  expect(tokens.slice(0, kept)).toEqual(old.tokens.slice(0, kept));
  const continued = [...engine.tokenize(prompts[1], { addBos: true }), ...tokens.slice(0, kept)];
  const rest2 = await engine.generate(continued, { maxTokens: 200 - kept, ignoreEos: true });
  expect(tokens.slice(kept)).toEqual(rest2.tokens);
});

test('fifty updates under load, with requests cancelled, drop none and hold no memory', async () => {
  const engine = await load();
  const bytes: number[] = [];
  for (let i = 0; i < 50; ++i) {
    const cancelled = new AbortController();
    const running = prompts.map((prompt, n) =>
      engine.generate(prompt, { maxTokens: 30, ignoreEos: true, signal: n === 0 ? cancelled.signal : undefined }),
    );
    const update = engine.updateWeights(i % 2 ? path : other, { inFlight: i % 3 ? 'finish' : 'restart' });
    cancelled.abort();
    const [first, ...others] = await Promise.allSettled(running);
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED' } });
    for (const result of others) expect(result).toMatchObject({ value: { tokens: { length: 30 } } });
    expect((await update).version).toBe(i + 1);
    bytes.push(engine.stats().residentBytes);
  }
  expect(await heldAtLast(engine)).toBe(1);
  // A version is 640 KiB: kept, they would come to twice the bound between these readings, of which single ones are noise.
  expect(Math.min(...bytes.slice(40)) - Math.max(...bytes.slice(5, 15))).toBeLessThan(8 << 20);
});

test('what an engine says of its model can be read at any time while its weights are replaced', async () => {
  const engine = await load();
  const { layers } = engine.model;
  for (let i = 0; i < 20; ++i) {
    let isDone = false;
    const update = engine.updateWeights(i % 2 ? path : other).finally(() => (isDone = true));
    while (!isDone) {
      for (let n = 0; n < 2000; ++n) if (engine.model.layers !== layers) throw new Error('another model');
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await update).version).toBe(i + 1);
  }
});

test('what is wrong is refused by name, and the engine goes on with the weights it has', async () => {
  const engine = await load();
  const expected = await answers(engine);
  const good = tensorsOf(other);
  const [embedding] = good;
  const q = good.find(({ name }) => name.endsWith('attn_q.weight'))!;
  const nan = { ...embedding, data: (embedding.data as Float32Array).map((v, i) => (i === 77 ? NaN : v)) };
  const sent = new Float32Array(embedding.data.byteLength / 4);
  structuredClone(sent, { transfer: [sent.buffer] });
  const hole: unknown[] = [];
  hole[1] = embedding;
  const refusals: [string, unknown, unknown?][] = [
    ['INVALID_OPTION', [{ ...embedding, data: sent }]],
    ['INVALID_OPTION', hole],
    ['UNKNOWN_TENSOR', [{ ...embedding, name: 'token_embed.weight' }]],
    ['INCOMPLETE_MATRIX', [q]],
    ['WRONG_TENSOR_SHAPE', [{ ...embedding, shape: [...embedding.shape].reverse() }]],
    ['SIZE_MISMATCH', [{ ...embedding, dtype: 'BF16' }]],
    ['UNSUPPORTED_TENSOR_TYPE', [{ ...embedding, dtype: 'I8' }]],
    ['DUPLICATE_TENSOR', [embedding, embedding]],
    ['NON_FINITE_WEIGHT', [...good.slice(1), nan]],
    ['NO_TENSORS', []],
    ['INVALID_OPTION', [{ ...embedding, data: [1, 2] }]],
    ['INVALID_OPTION', [{ ...embedding, shape: ['a'] }]],
    ['INVALID_OPTION', [{ ...embedding, colour: 'red' }]],
    ['INVALID_OPTION', 7],
    ['INVALID_OPTION', other, { inFlight: 'drop' }],
    ['FILE_NOT_FOUND', join(folder, 'nowhere')],
  ];
  for (const [code, source, options] of refusals) {
    const refused = engine.updateWeights(source as string, options as undefined);
    await expect(refused).rejects.toMatchObject({ name: 'ForetokenError', code });
  }
  writeFileSync(join(folder, 'cut.gguf'), Buffer.from('GGUF\x03\0\0\0'));
  await expect(engine.updateWeights(join(folder, 'cut.gguf'))).rejects.toMatchObject({ code: 'TRUNCATED' });
  expect(engine.stats().weightsVersion).toBe(0);
  expect(await answers(engine)).toEqual(expected);
});

test('one update at a time; closing waits for it, and a closed engine takes none', async () => {
  const engine = await load();
  const first = engine.updateWeights(other);
  await expect(engine.updateWeights(path)).rejects.toMatchObject({ code: 'UPDATE_RUNNING' });
  const closed = engine.close();
  expect((await first).version).toBe(1);
  await closed;
  await expect(engine.updateWeights(other)).rejects.toMatchObject({ code: 'ENGINE_CLOSED' });
});
