import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Engine, ForetokenError } from '../../lib';
import type { LoadProgress } from '../../lib';
import { loadBinding } from '../../lib/binding';
import { Bpe } from '../../lib/models/bpe';
import type { NativeEngine } from '../../lib/native';
import { asNobody } from '../support/read-only';
import { prompts, steadyClock, tinyModel } from './tiny';

const { load, path } = tinyModel();
let engine: Engine;

beforeAll(async () => {
  engine = await load({ contextLength: 128 });
});

const wrong: [object, string][] = [
  [{ maxTokens: 0 }, 'Expected an integer >= 1 for maxTokens but received 0 of type number'],
  [{ temperature: '1' }, 'Expected a number 0..100 for temperature but received "1" of type string'],
  [{ topP: 0 }, 'topP'],
  [{ topK: 2 ** 31 }, 'Expected an integer 0..2147483647 for topK'],
  [{ penaltyWindow: 2 ** 31 }, 'Expected an integer 0..2147483647 for penaltyWindow'],
  [{ topP: 1e-50 }, 'Expected a number above 0 for topP'],
  ...['logitBias', 'stop', 'stopTokens', 'learn', 'seed', 'temperature'].map((name): [object, string] => [
    { [name]: null },
    `for ${name} but received null`,
  ]),
  [{ logitBias: [1, 2] }, 'Expected an object of token ids and numbers for logitBias but received an array of 2'],
  [{ logitBias: new Map([[3, 1]]) }, 'Expected an object of token ids and numbers for logitBias'],
  [{ logitBias: { '': 1 } }, 'logitBias'],
  [{ logitBias: { '0x3': 1 } }, 'logitBias'],
  [{ topK: 1.5 }, 'Expected an integer 0..2147483647 for topK but received 1.5 of type number'],
  [{ minP: NaN }, 'Expected a number 0..1 for minP but received NaN of type number'],
  [{ seed: 0.5 }, 'Expected a safe integer or a bigint for seed'],
  [{ stop: [''] }, 'Expected strings that are not empty for stop'],
  [{ stop: 5 }, 'stop'],
  [{ stopTokens: [-1] }, 'stopTokens'],
  [{ special: 'yes' }, 'Expected a boolean for special'],
  [{ logitBias: { x: 1 } }, 'logitBias'],
  [{ logitBias: { 3: 'high' } }, 'Expected a number for logitBias[3]'],
  [{ logprobs: 21 }, 'Expected an integer 0..20 for logprobs'],
  [{ tenant: 5 }, 'tenant'],
  [{ tenant: 'a\ud800' }, 'Expected a string of whole characters for tenant'],
  [{ session: '\udfff' }, 'Expected a string of whole characters for session'],
  [{ group: 'g'.repeat(257) }, 'Expected a string of at most 256 characters for group'],
  [{ signal: {} }, 'Expected an AbortSignal for signal but received an object'],
  [{ speculation: { enabled: 1 } }, 'Expected a boolean for speculation.enabled'],
  [
    { speculation: { speculator: 'oracle' } },
    'Expected one of auto, static, suffix, recall, prediction, head for speculation.speculator',
  ],
  [
    { speculation: { depth: 1 } },
    'Unknown option speculation.depth; there are enabled, maxLookahead, record, speculator',
  ],
  [{ maxToken: 5 }, 'Unknown option maxToken; there are explain, frequencyPenalty'],
  [{ max_tokens: 5 }, 'Unknown option max_tokens; it is called maxTokens'],
  [{ tenant: '' }, 'Expected a name that is not empty'],
];

test.each(wrong)('options %j are refused, naming what was expected', async (options, message) => {
  const refused = { code: 'INVALID_OPTION', message: expect.stringContaining(message) as string };
  await expect(engine.generate('x', options)).rejects.toMatchObject(refused);
  expect(() => engine.stream('x', options)).toThrow(expect.objectContaining(refused));
});

test('tokens are banned as long as one is left', async () => {
  const { vocabulary } = engine.model;
  const bans = Object.fromEntries(Array.from({ length: vocabulary }, (_, token) => [token, -Infinity]));
  const refused = { code: 'INVALID_OPTION', message: expect.stringContaining('a token that is not banned') as string };
  await expect(engine.generate('x', { logitBias: bans })).rejects.toMatchObject(refused);
  delete bans[70];
  expect((await engine.generate('x', { logitBias: bans, maxTokens: 3, ignoreEos: true })).tokens).toEqual([70, 70, 70]);
});

test.each<[unknown, string]>([
  [{ tenat: 'a' }, 'Unknown option tenat; there are group, session, tenant'],
  ['a', 'Expected an object for what to forget'],
  [null, 'Expected an object for what to forget'],
  [{ tenant: 5 }, 'tenant'],
  [{ tenant: '\0g' }, 'tenant'],
  [{ tenant: '' }, 'tenant'],
  [{ tenant: undefined }, 'Expected a name for tenant'],
  [{ tenant: 'a', session: '' }, 'session'],
  [{ group: '' }, 'group'],
  [{ tenant: 'a', group: 'g' }, 'Expected nothing beside a tenant (forget both in two calls) for group'],
])('forgetting %j is refused, and nothing is forgotten', async (what, message) => {
  const prompt = 'a prompt that is long enough to fill a page of the cache, and a little more';
  await engine.generate(prompt, { maxTokens: 2 });
  const refused = { code: 'INVALID_OPTION', message: expect.stringContaining(message) as string };
  await expect(engine.forget(what as object)).rejects.toMatchObject(refused);
  expect((await engine.generate(prompt, { maxTokens: 2 })).usage.cachedPromptTokens).toBeGreaterThan(0);
});

test('a memory is exported to a path, and of a tenant', async () => {
  await expect(engine.exportMemory(undefined as unknown as string)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  await expect(engine.exportMemory('x', 5 as unknown as string)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
});

test.each([
  [{ weights: 'int3' }, 'weights'],
  [{ threads: 0 }, 'threads'],
  [{ backend: 'tpu' }, 'Expected one of cpu, cuda for backend'],
  [{ kvFormat: 'int4' }, 'Expected one of bf16, fp8 for kvFormat'],
  [{ contextLength: 'long' }, 'contextLength'],
  [{ runAhead: 2 ** 24 + 1 }, 'Expected an integer 1..16777216 for runAhead'],
  [{ speculation: 'on' }, 'speculation'],
  [{ memory: null }, 'Expected a path or a boolean for memory but received null'],
  [{ head: null }, 'Expected a path or a boolean for head but received null'],
  [{ wieghts: 'fp8' }, 'Unknown option wieghts'],
])('load options %j are refused', async (options, message) => {
  await expect(Engine.load(path, options as object)).rejects.toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringContaining(message),
  });
});

test('a sequence may run ahead further than its context goes, at no cost', async () => {
  const before = engine.stats().residentBytes;
  const far = await load({ contextLength: 128, runAhead: 2 ** 24, maxSequences: 64 });
  expect((await far.generate('one two one two', { maxTokens: 8, ignoreEos: true })).tokens).toHaveLength(8);
  expect(far.stats().residentBytes - before).toBeLessThan(512 << 20);
});

test("without a CUDA device backend 'cuda' is an error with a code, and the CPU goes on", async () => {
  const decode = async () => (await engine.generate('one two one two', { maxTokens: 8 })).text;
  const before = await decode();
  let devices = 0;
  try {
    devices = loadBinding().cudaInfo().devices.length;
  } catch (error) {
    expect(error).toMatchObject({ code: 'CUDA_UNAVAILABLE' });
  }
  if (devices === 0) await expect(load({ backend: 'cuda' })).rejects.toMatchObject({ code: 'CUDA_UNAVAILABLE' });
  else expect((await load({ backend: 'cuda' })).model.backend).toBe('cuda');
  expect(await decode()).toBe(before);
  expect(engine.model.backend).toBe('cpu');
});

test('keys and values in fp8 are an error with a code on the CPU', async () => {
  await expect(load({ kvFormat: 'fp8' })).rejects.toMatchObject({ code: 'UNSUPPORTED_KV_FORMAT' });
  expect(engine.model.kvFormat).toBe('bf16');
});

test('a model that is not there, or is no model, is an error with a code', async () => {
  await expect(Engine.load('./no/such/file.gguf')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  const junk = `${path}.junk.gguf`;
  writeFileSync(junk, Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(64, 0xff)]));
  const error: unknown = await Engine.load(junk).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ForetokenError);
  expect(error).toMatchObject({ file: junk });
  const { file: none, ...rest } = { file: 'none', ...(await engine.generate([]).catch((reason: object) => reason)) };
  expect({ none, rest }).toMatchObject({ none: 'none', rest: { code: 'INVALID_PROMPT' } });
});

test('a file or folder that can not be read is an error with a code and a class', async () => {
  const locked = `${path}.locked`;
  mkdirSync(locked);
  chmodSync(dirname(locked), 0o755);
  const file = join(locked, 'model.gguf');
  writeFileSync(file, 'GGUF');
  for (const [what, closed] of [
    [file, file],
    [locked, locked],
  ]) {
    chmodSync(closed, 0o000);
    const error: unknown = await asNobody(() => Engine.load(what)).catch((reason: unknown) => reason);
    chmodSync(closed, 0o755);
    expect(error).toBeInstanceOf(ForetokenError);
    expect(error).toMatchObject({ code: 'FILE_UNREADABLE', file: what });
  }
});

test('a prompt that does not fit, or has no tokens, is refused with the stack of the call', async () => {
  async function userCode(): Promise<unknown> {
    return await engine.generate(new Array<number>(500).fill(5));
  }
  const error = (await userCode().catch((reason: unknown) => reason)) as Error;
  expect(error).toMatchObject({ code: 'CONTEXT_EXCEEDED' });
  expect(error.stack).toContain('userCode');
  await expect(engine.generate([])).rejects.toMatchObject({ code: 'INVALID_PROMPT' });
  await expect(engine.generate([1e9])).rejects.toMatchObject({ code: 'INVALID_PROMPT' });
});

test('text that does not fit is encoded no further than the context goes', async () => {
  const text = 'word '.repeat(100_000);
  const tooLong = {
    code: 'CONTEXT_EXCEEDED',
    message: expect.stringMatching(/has 128 tokens or more.*shorten it/) as string,
  };
  const encode = jest.spyOn(Bpe.prototype, 'encode');
  await expect(engine.generate(text)).rejects.toMatchObject(tooLong);
  await expect(engine.chat([{ role: 'user', content: text }])).rejects.toMatchObject(tooLong);
  expect((await engine.generate('x', { prediction: text, maxTokens: 2, ignoreEos: true })).tokens).toHaveLength(2);
  expect(encode.mock.calls.length).toBeLessThan(1000);
  encode.mockRestore();
  const counted = await engine.tokenizeChat([{ role: 'user', content: 'word '.repeat(200) }]);
  expect(counted.length).toBeGreaterThan(200);
});

test('what the border finds wrong at load has a code and a class too', async () => {
  for (const options of [{ kvBytes: 2 ** 50 }, { indexBytes: 2 ** 50 }]) {
    const error: unknown = await load(options).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ForetokenError);
    expect(error).toMatchObject({ code: 'INVALID_OPTION' });
  }
});

test.each([
  [{ kvBytes: 2 ** 45 }, 'OUT_OF_MEMORY', /kvBytes asks for 33554432 MiB, \d+ MiB are left/],
  [{ kvBytes: 1000 }, 'OUT_OF_MEMORY', /needs [1-9]\d* MiB for its KV pages, 0 MiB are to be had.*another kvBytes/],
  [{ contextLength: 2 ** 20 }, 'INVALID_OPTION', /contextLength must be at most \d+, the model's own/],
])(
  'what the machine or the model has no room for is refused with what there is: %p',
  async (options, code, message) => {
    await expect(load(options)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  },
);

test('loading that is aborted ends with ABORTED, wherever it was', async () => {
  const signal = AbortSignal.abort(new Error('enough'));
  const aborted = { code: 'ABORTED', cause: { message: 'enough' } };
  await expect(load({ signal })).rejects.toMatchObject(aborted);
  await expect(Engine.load('hf:nobody/nothing', { signal })).rejects.toMatchObject(aborted);
});

test('loading that was aborted before it began, or while the model was looked for, loads nothing', async () => {
  const cacheFolder = `${path}.unused`;
  const stages: string[] = [];
  const options = {
    weights: 'bf16',
    cacheFolder,
    onProgress: ({ stage }: LoadProgress) => stages.push(stage),
  } as const;
  const aborted = { code: 'ABORTED' };
  await expect(Engine.load('./no/such/file.gguf', { signal: AbortSignal.abort() })).rejects.toMatchObject(aborted);
  await expect(load({ ...options, signal: AbortSignal.abort() })).rejects.toMatchObject(aborted);
  const abort = new AbortController();
  const loading = load({ ...options, signal: abort.signal });
  abort.abort();
  await expect(loading).rejects.toMatchObject(aborted);
  expect([stages, existsSync(cacheFolder)]).toEqual([[], false]);
});

/** Calls of the native engine that `loading` makes, however that ends, to be looked at or replaced. */
async function callsOf(loading: () => Promise<unknown>) {
  const binding = loadBinding();
  const loadEngine = binding.loadEngine.bind(binding);
  const spyOn = (native: NativeEngine) => ({
    close: jest.spyOn(native, 'close'),
    setPolicy: jest.spyOn(native, 'setPolicy'),
  });
  let calls: ReturnType<typeof spyOn>;
  const watched = jest.spyOn(binding, 'loadEngine').mockImplementation(async (...how) => {
    const native = await loadEngine(...how);
    calls = spyOn(native);
    return native;
  });
  await loading().finally(() => watched.mockRestore());
  return calls!;
}

test.each(['first', 'last'])('what onProgress throws (for the %s part) is what loading ends with', async (part) => {
  const enough = Object.assign(new Error('enough'), { code: 'EPIPE' });
  const onProgress = ({ done, total }: LoadProgress): void => {
    if (part === 'first' || done === total) throw enough;
  };
  const options = { cacheFolder: `${path}.${part}`, weights: 'bf16', speculation: false, onProgress } as const;
  const { close } = await callsOf(() => expect(load(options)).rejects.toBe(enough));
  expect(close).toHaveBeenCalledTimes(1);
});

/** Lets the native engine refuse every table from now on. */
function refuse(setPolicy: jest.SpyInstance, code: string): void {
  setPolicy.mockReset().mockImplementation(() => {
    throw Object.assign(new Error('not heard'), { code });
  });
}

test('tables that the engine has no memory for fail no request, and are sent with the next one', async () => {
  let drafting: Engine;
  const { setPolicy } = await callsOf(async () => (drafting = await load({}, steadyClock())));
  refuse(setPolicy, 'OUT_OF_MEMORY');
  const options = { maxTokens: 64, ignoreEos: true };
  const first = await drafting!.generate(prompts[1], options);
  expect(setPolicy).toHaveBeenCalled();
  expect(first.tokens).toHaveLength(64);
  setPolicy.mockReset().mockImplementation(() => undefined);
  expect((await drafting!.generate(prompts[1], options)).text).toBe(first.text);
  expect(setPolicy.mock.calls.map(([, tenant]) => tenant)).toEqual(expect.arrayContaining([undefined, 'default']));
});

test('tables that it refuses for anything else fail the next request, not one that runs', async () => {
  let drafting: Engine;
  const { setPolicy } = await callsOf(async () => (drafting = await load({}, steadyClock())));
  const stream = drafting!.stream(prompts[1], { maxTokens: 64, ignoreEos: true });
  const first = await stream.next();
  refuse(setPolicy, 'INVALID_OPTION');
  expect(first.done).toBe(false);
  expect((await stream.result).tokens).toHaveLength(64);
  expect(setPolicy).toHaveBeenCalled();
  const refused = { name: 'ForetokenError', code: 'INVALID_OPTION', message: 'not heard' };
  await expect(drafting!.generate(prompts[1])).rejects.toMatchObject(refused);
});

test('a closed engine says so, whatever it is asked; its sessions can be closed after it', async () => {
  const closed = await load();
  const session = closed.session();
  await session.prompt('x', { maxTokens: 1 });
  await closed.close();
  const asked: (() => unknown)[] = [
    () => closed.model,
    () => closed.stats(),
    () => closed.forget(),
    () => closed.generate('x'),
    () => closed.exportMemory('x'),
    () => closed.updateWeights('x'),
  ];
  for (const ask of asked) {
    const error: unknown = await (async () => await ask())().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ForetokenError);
    expect(error).toMatchObject({ code: 'ENGINE_CLOSED' });
  }
  session.close();
});

test('closing waits for requests that were accepted, those too whose prompt is still being read', async () => {
  const closing = await load();
  const asked = [
    closing.generate('one', { maxTokens: 4 }),
    closing.chat([{ role: 'user', content: 'two' }], { maxTokens: 4 }),
  ];
  const closed = closing.close();
  await expect(closing.generate('three')).rejects.toMatchObject({ code: 'ENGINE_CLOSED' });
  expect((await Promise.all(asked)).map(({ tokens }) => tokens.length)).toEqual([4, 4]);
  await closed;
});

test('options of other kinds than objects are refused, wherever they are taken', async () => {
  const wrong = null as unknown as undefined;
  const session = engine.session();
  await expect(session.prompt('x', wrong)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  for (const options of [wrong, [] as object, 'abc' as never])
    await expect(engine.chat([{ role: 'user', content: 'x' }], options)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    });
  const shadowing = ['bos_token', 'eos_token', 'messages', 'tools', 'add_generation_prompt'].map((name) => ({
    variables: { [name]: [] },
  }));
  for (const options of [wrong, { tools: wrong }, { variables: wrong }, ...shadowing].map((each) => each as object))
    await expect(engine.tokenizeChat([{ role: 'user', content: 'x' }], options)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    });
});

test('a chat takes options as any request does, and names its own where one is misspelt', async () => {
  const messages = [{ role: 'user', content: 'x' }];
  const inherited = Object.create({ maxTokens: 3, ignoreEos: true }) as object;
  for (const asked of [engine.generate('x', inherited), engine.chat(messages, inherited)])
    expect((await asked).tokens).toHaveLength(3);
  const refused = {
    code: 'INVALID_OPTION',
    message: expect.stringMatching(/tool; .*\btools\b.*\bvariables/) as string,
  };
  await expect(engine.chat(messages, { tool: [] } as object)).rejects.toMatchObject(refused);
});

test('an answer that reaches the end of the context ends with length', async () => {
  const { tokens, finishReason, usage } = await engine.generate('abc', { maxTokens: 5000, ignoreEos: true });
  expect(finishReason).toBe('length');
  expect(tokens.length + usage.promptTokens).toBe(128);
});

test('options of tokenize and detokenize are checked by name and kind', () => {
  const wrong: (() => unknown)[] = [
    () => engine.tokenize('a', { addBOS: true } as object),
    () => engine.tokenize('a', { special: 1 } as object),
    () => engine.tokenize('a', null as never),
    () => engine.detokenize([1], { specials: true } as object),
    () => engine.detokenize([1], { special: 'yes' } as object),
  ];
  for (const call of wrong) expect(call).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  for (const tokens of [undefined, null, 5, {}, 'abc'])
    expect(() => engine.detokenize(tokens as never)).toThrow(expect.objectContaining({ code: 'INVALID_PROMPT' }));
  expect(engine.detokenize(engine.tokenize('a', { special: undefined }))).toBe('a');
});
