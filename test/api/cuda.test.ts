import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';
import type { DriftEvent, GenerateResult, LearningEvent, LoadOptions, RequestOptions } from '../../lib';
import { loadBinding } from '../../lib/binding';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { trainHead } from '../../lib/speculators/train-head';
import { describeOnExecutor } from '../support/executor';
import type { Faults, RuntimeCall } from '../support/executor';
import { givenPrices, prompts as allPrompts, until } from './tiny';

// The learner works where nobody else wants the processor.
jest.setTimeout(600_000);

const maxTokens = 16;
const prompts = allPrompts.slice(0, 4);

/** Prices are given: measuring them would be most of what a load takes on the executor, and drafts might not pay. */
const clock = {
  profile: givenPrices,
  now: () => performance.now(),
};

/** Greedy, sampled, and with penalties. */
const kinds: [string, RequestOptions][] = [
  ['greedy', {}],
  ['sampled', { temperature: 0.8, topP: 0.95, seed: 3 }],
  ['with penalties', { temperature: 0.5, topK: 20, repetitionPenalty: 1.2, seed: 4 }],
];

describeOnExecutor('the CUDA backend below the whole addon', (addon) => {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-cuda-'));
  const path = join(folder, 'tiny.gguf');
  const engines: Engine[] = [];
  let faults: Faults;
  let head: string;

  const load = async (options: LoadOptions = {}, from = path): Promise<Engine> => {
    const common = { cacheFolder: join(folder, 'cache'), threads: 2, memory: false, contextLength: 256 };
    const engine = await Engine.load(from, { ...common, ...options }, clock);
    engines.push(engine);
    return engine;
  };
  const onDevice = (options: LoadOptions = {}): Promise<Engine> => load({ ...options, backend: 'cuda' });
  const ask = (engine: Engine, prompt: string, options: RequestOptions = {}): Promise<GenerateResult> =>
    engine.generate(prompt, { maxTokens, ignoreEos: true, ...options });
  const tokensOf = async (engine: Engine, options: RequestOptions): Promise<number[][]> => {
    const results = await Promise.all(prompts.map((prompt) => ask(engine, prompt, options)));
    return results.map(({ tokens }) => tokens);
  };

  beforeAll(async () => {
    writeTinyModel(path, { layers: 2, width: 64 });
    const texts = Array.from({ length: 24 }, (_, i) => `${prompts[i % prompts.length]} ${i} `.repeat(3));
    const options = { draftTokens: 64, slots: 3, rank: 8, rowsPerStep: 512, threads: 2 };
    head = (await trainHead(path, texts, folder, { cacheFolder: join(folder, 'cache'), ...options })).path!;
  });
  afterEach(async () => {
    await Promise.all(engines.splice(0).map((engine) => engine.close()));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('without the library, or with something else in its place, loading says so and can be tried again', async () => {
    const why = (text: RegExp): object => ({
      code: 'CUDA_UNAVAILABLE',
      message: expect.stringMatching(text) as string,
    });
    await expect(onDevice()).rejects.toMatchObject(
      why(/^CUDA can't be used here: .*libforetoken_cuda\.so is not there/),
    );
    writeFileSync(addon.library, 'no library');
    await expect(onDevice()).rejects.toMatchObject(why(/libforetoken_cuda\.so/));
    expect((await ask(await load(), prompts[0])).tokens).toHaveLength(maxTokens);
    faults = addon.install();
    expect(loadBinding().cudaInfo()).toMatchObject({ library: addon.library, devices: [{ name: 'executor' }] });
    const measured = await Engine.load(path, { cacheFolder: join(folder, 'cache'), backend: 'cuda' });
    expect(measured.model).toMatchObject({ backend: 'cuda', isa: 'executor' });
    await measured.close();
  });

  test('greedy tokens are those of the CPU backend up to where the CPU itself was in doubt', async () => {
    const cpu = await load({ speculation: false });
    const cuda = await onDevice();
    let agreed = 0;
    for (const prompt of prompts) {
      const expected = await ask(cpu, prompt, { logprobs: 2 });
      const { tokens } = await ask(cuda, prompt);
      const first = tokens.findIndex((token, i) => token !== expected.tokens[i]);
      agreed += first < 0 ? maxTokens : first;
      if (first < 0) continue;
      const [best, next] = expected.logprobs![first].top;
      expect(best.logprob - next.logprob).toBeLessThan(0.1);
    }
    expect(agreed).toBeGreaterThan((prompts.length * maxTokens) / 2);
  });

  test.each(kinds)('%s, drafts change no token, whatever was learned before', async (_, options) => {
    const plain = await onDevice({ speculation: false, maxSequences: 1 });
    const expected = await tokensOf(plain, options);
    const drafting = await onDevice({ head, learnHead: true, maxSequences: 4 });
    for (const turn of [{}, { speculation: { speculator: 'head' } }, { learn: false, tenant: 'b' }] as const)
      expect(await tokensOf(drafting, { ...options, ...turn })).toEqual(expected);
    expect(await tokensOf(drafting, { ...options, speculation: { enabled: false } })).toEqual(expected);
    expect(drafting.stats().tenants.default.acceptedDraftTokens).toBeGreaterThan(0);
    await until(() => drafting.stats().learningLayerSteps > 0);
    const { learnedTexts, learningLayerSteps, learningDeviceBytes } = drafting.stats();
    for (const count of [learnedTexts, learningLayerSteps, learningDeviceBytes]) expect(count).toBeGreaterThan(0);
  });

  test('keys and values in fp8, a stream, a session and new weights take the same way', async () => {
    const plain = await onDevice({ speculation: false, kvFormat: 'fp8' });
    const drafting = await onDevice({ kvFormat: 'fp8' });
    const stream = drafting.stream(prompts[1], { maxTokens, ignoreEos: true });
    let text = '';
    for await (const chunk of stream) text += chunk.text;
    expect(text).toBe((await ask(plain, prompts[1])).text);
    const answer = (engine: Engine): Promise<GenerateResult> =>
      engine.session({ maxTokens, ignoreEos: true }).prompt('one two one two');
    expect((await answer(drafting)).tokens).toEqual((await answer(plain)).tokens);
    const other = join(folder, 'other.gguf');
    writeTinyModel(other, { layers: 2, width: 64, seed: 2 });
    for (const engine of [plain, drafting]) await engine.updateWeights(other);
    const anew = await load({ speculation: false, kvFormat: 'fp8', backend: 'cuda' }, other);
    const expected = await tokensOf(anew, {});
    for (const engine of [plain, drafting]) expect(await tokensOf(engine, {})).toEqual(expected);
  });

  test('weights in fp8: drafts change no token, and an answer is the same where the prompt before it was cached', async () => {
    const plain = await onDevice({ weights: 'fp8', speculation: false, maxSequences: 1 });
    const drafting = await onDevice({ weights: 'fp8', head, maxSequences: 4 });
    for (const [, options] of kinds) expect(await tokensOf(drafting, options)).toEqual(await tokensOf(plain, options));
    const secondTurn = async (tenant: string, forget: boolean): Promise<GenerateResult> => {
      const session = drafting.session({ maxTokens, ignoreEos: true, tenant });
      await session.prompt('one two three one two three');
      if (forget) await drafting.forget({ tenant });
      return session.prompt('one two');
    };
    const hit = await secondTurn('hit', false);
    const miss = await secondTurn('miss', true);
    expect(hit.usage.cachedPromptTokens).toBeGreaterThan(0);
    expect(miss.usage.cachedPromptTokens).toBe(0);
    expect(hit.tokens).toEqual(miss.tokens);
  });

  describe('a device that fails', () => {
    const lost = {
      name: 'ForetokenError',
      code: 'CUDA_ERROR',
      message: expect.stringMatching(/start .* anew/) as string,
    };
    const lacking = {
      name: 'ForetokenError',
      code: 'OUT_OF_MEMORY',
      message: expect.stringMatching(/kvBytes/) as string,
    };

    test.each<[RuntimeCall, number]>([
      ['copy', 3],
      ['launch', 40],
      ['wait', 2],
      ['any', 100],
    ])('lost at a call (%s), it ends its requests with a code; the CPU goes on, closing works', async (call, after) => {
      const cpu = await load();
      const there = await tokensOf(cpu, {});
      const cuda = await onDevice({ head, learnHead: true });
      const stream = cuda.stream(prompts[0], { maxTokens: 200, ignoreEos: true });
      faults.arm(call, after, false);
      await expect(
        (async () => {
          for await (const chunk of stream) expect(chunk.tokens.length).toBeGreaterThan(0);
        })(),
      ).rejects.toMatchObject(lost);
      await expect(ask(cuda, prompts[1])).rejects.toMatchObject(lost);
      expect(await tokensOf(cpu, {})).toEqual(there);
      const why = /this process has lost a device .* start it anew/;
      await expect(onDevice()).rejects.toMatchObject({
        code: expect.stringMatching(/^CUDA_/) as string,
        message: expect.stringMatching(why) as string,
      });
      await cuda.close();
      expect(faults.mend()).toBe(true);
      expect((await ask(await onDevice(), prompts[1])).tokens).toHaveLength(maxTokens);
    });

    test('without memory, it ends a request with a code, and the next ones go well', async () => {
      const plain = await tokensOf(await onDevice({ speculation: false }), {});
      const cuda = await onDevice();
      faults.arm('allocate', 0, true);
      await expect(ask(cuda, prompts[0])).rejects.toMatchObject(lacking);
      expect(faults.mend()).toBe(true);
      expect(await tokensOf(cuda, {})).toEqual(plain);
    });

    test('without memory for the model, loading says so, and is possible later', async () => {
      for (const after of [0, 1, 2, 10, 30]) {
        faults.arm('allocate', after, true);
        const message = expect.stringMatching(/memory/i) as string;
        await expect(onDevice()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY', message });
        expect(faults.mend()).toBe(true);
      }
      expect((await ask(await onDevice(), prompts[0])).tokens).toHaveLength(maxTokens);
    });

    test('lost while a head learns, it ends learning with an event; drafting and decoding go on', async () => {
      const events: (LearningEvent | DriftEvent)[] = [];
      const cuda = await onDevice({ head, learnHead: true, onEvent: (event) => events.push(event) });
      const before = await tokensOf(cuda, {});
      faults.arm('any', 0, false); // nothing is decoded any more, and there are texts to learn from
      await until(() => events.some(({ kind }) => kind === 'stopped'));
      expect(faults.mend()).toBe(true);
      expect(events.at(-1)).toMatchObject({ kind: 'stopped', evidence: { code: 'CUDA_ERROR' } });
      expect(await tokensOf(cuda, {})).toEqual(before);
    });
  });
});
