import { setTimeout as sleep } from 'node:timers/promises';
import type { Engine } from '../../lib';
import { prompts, tinyModel, until } from './tiny';

const { load } = tinyModel();
let engine: Engine;

beforeAll(async () => {
  engine = await load({ runAhead: 16, maxSequences: 4 });
});

test('chunks add up to the result', async () => {
  for (const prompt of prompts) {
    const stream = engine.stream(prompt, { maxTokens: 60, ignoreEos: true, logprobs: 1 });
    let text = '';
    const tokens: number[] = [];
    let logprobs = 0;
    for await (const chunk of stream) {
      text += chunk.text;
      tokens.push(...chunk.tokens);
      logprobs += chunk.logprobs!.length;
    }
    const result = await stream.result;
    expect({ text, tokens }).toEqual({ text: result.text, tokens: result.tokens });
    expect(logprobs).toBe(60);
    expect((await engine.generate(prompt, { maxTokens: 60, ignoreEos: true })).tokens).toEqual(tokens);
  }
});

test('a reader that waits holds its own sequence back and no other', async () => {
  const stream = engine.stream(prompts[0], { maxTokens: 300, ignoreEos: true, tenant: 'slow' });
  const first = await stream.next();
  await sleep(300);
  const beside = await engine.generate(prompts[1], { maxTokens: 100, ignoreEos: true });
  expect(beside.tokens).toHaveLength(100);
  const second = await stream.next();
  // At most the tokens it may run ahead, and the drafts of the last round, have come meanwhile.
  let count = first.value!.tokens.length + second.value!.tokens.length;
  expect(count).toBeLessThan(120);
  for await (const chunk of stream) count += chunk.tokens.length;
  expect(count).toBe(300);
});

test('readers that have stalled keep nobody out, and find their text when they return', async () => {
  const own = await load({ runAhead: 16, maxSequences: 2 });
  const options = { maxTokens: 150, ignoreEos: true, temperature: 0.8, seed: 3 };
  const streams = [own.stream(prompts[0], options), own.stream(prompts[1], options)];
  const firsts = await Promise.all(streams.map((stream) => stream.next()));
  for (const prompt of prompts) expect((await own.generate(prompt, options)).tokens).toHaveLength(150);
  for (const [i, stream] of streams.entries()) {
    const tokens = [...firsts[i].value!.tokens];
    expect(tokens.length).toBeLessThan(100);
    for await (const chunk of stream) tokens.push(...chunk.tokens);
    expect(tokens).toEqual((await engine.generate(prompts[i], options)).tokens);
  }
});

test('the result comes although nobody reads on', async () => {
  const stream = engine.stream(prompts[0], { maxTokens: 200, ignoreEos: true });
  const first = await stream.next();
  const { tokens } = await stream.result;
  const rest = await stream.next();
  expect([...first.value!.tokens, ...rest.value!.tokens]).toEqual(tokens);
  expect(tokens).toHaveLength(200);
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test('leaving the loop cancels: the result keeps what came, the engine goes on', async () => {
  const stream = engine.stream(prompts[0], { maxTokens: 500, ignoreEos: true });
  let shown = '';
  for await (const chunk of stream) {
    shown += chunk.text;
    if (shown.length > 20) break;
  }
  const result = await stream.result;
  expect(result.finishReason).toBe('cancelled');
  expect(result.text.startsWith(shown)).toBe(true);
  expect(result.tokens.length).toBeLessThan(500);
  expect((await engine.generate(prompts[0], { maxTokens: 5, ignoreEos: true })).tokens).toHaveLength(5);
});

test('an aborted request fails with ABORTED, at every stage', async () => {
  const aborted = AbortSignal.abort();
  await expect(engine.generate(prompts[0], { signal: aborted })).rejects.toMatchObject({ code: 'ABORTED' });

  const abort = new AbortController();
  const stream = engine.stream(prompts[0], { maxTokens: 1000, ignoreEos: true, signal: abort.signal, tenant: 'gone' });
  await stream.next();
  abort.abort(new Error('enough'));
  const reading = (async () => {
    for await (const chunk of stream) void chunk;
  })();
  await expect(reading).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
  await expect(stream.result).rejects.toMatchObject({ code: 'ABORTED' });
  await until(() => 'gone' in engine.stats().tenants);
  const { requests, promptTokens, completionTokens } = engine.stats().tenants['gone'];
  expect([requests, promptTokens]).toEqual([1, engine.tokenize(prompts[0]).length]);
  expect(completionTokens).toBeGreaterThan(0);

  const waiting = new AbortController();
  const request = { maxTokens: 400, ignoreEos: true, signal: waiting.signal };
  const many = Array.from({ length: 12 }, () => engine.generate(prompts[1], request));
  setTimeout(() => waiting.abort(), 20);
  for (const outcome of await Promise.allSettled(many)) {
    if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'ABORTED' });
  }
  await until(() => engine.stats().active + engine.stats().waiting === 0);
  expect(engine.stats()).toMatchObject({ active: 0, waiting: 0 });
});

test('closing lets running requests end, read or not, and refuses new ones', async () => {
  const own = await load({ runAhead: 8, maxSequences: 2 });
  const unread = own.stream(prompts[0], { maxTokens: 200, ignoreEos: true });
  await unread.next();
  const running = [];
  for (let i = 0; i < 5; ++i) running.push(own.generate(prompts[i], { maxTokens: 150, ignoreEos: true, seed: 1 }));
  await sleep(20);
  const closing = own.close();
  expect(() => own.stream('late')).toThrow(expect.objectContaining({ code: 'ENGINE_CLOSED' }));
  expect((await Promise.all(running)).map((result) => result.tokens.length)).toEqual([150, 150, 150, 150, 150]);
  await closing;
  expect((await unread.result).tokens).toHaveLength(200);
  await own.close();
});
