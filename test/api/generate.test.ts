import type { Engine, RequestOptions } from '../../lib';
import { prompts, steadyClock, tinyModel } from './tiny';

const { load } = tinyModel();
let plain: Engine;
let fast: Engine;

beforeAll(async () => {
  plain = await load({ speculation: false });
  fast = await load({}, steadyClock());
});

const ways: [string, RequestOptions][] = [
  ['greedy', {}],
  ['temperature 1', { temperature: 1 }],
  ['temperature 0.7 with top-k, top-p and min-p', { temperature: 0.7, topK: 40, topP: 0.95, minP: 0.02 }],
  ['penalties', { temperature: 0.8, repetitionPenalty: 1.2, presencePenalty: 0.3, frequencyPenalty: 0.1 }],
  ['logit bias', { temperature: 0.5, logitBias: { 40: 4, 41: -100 } }],
];

test.each(ways)('%s: the same tokens with speculation and without', async (_, options) => {
  for (const [seed, prompt] of prompts.entries()) {
    const request = { maxTokens: 64, seed, ignoreEos: true, ...options };
    const expected = await plain.generate(prompt, request);
    const result = await fast.generate(prompt, request);
    expect(result.tokens).toEqual(expected.tokens);
    expect(result.text).toBe(expected.text);
    expect(expected.usage).toMatchObject({ acceptedDraftTokens: 0, rejectedDraftTokens: 0, completionTokens: 64 });
  }
});

test('drafts were accepted on the way, and none where speculation is disabled', () => {
  expect(fast.stats().accepted).toBeGreaterThan(50);
  expect(plain.stats()).toMatchObject({ accepted: 0, drafted: 0, acceptanceLength: 1 });
});

test('a seed fixes the tokens; another seed gives others', async () => {
  const options = { maxTokens: 32, temperature: 1, seed: 5, ignoreEos: true };
  const first = await fast.generate(prompts[0], options);
  expect((await fast.generate(prompts[0], options)).tokens).toEqual(first.tokens);
  expect((await fast.generate(prompts[0], { ...options, seed: 6 })).tokens).not.toEqual(first.tokens);
});

test('what a request gives does not depend on what runs beside it', async () => {
  const requests = Array.from({ length: 24 }, (_, i) => ({
    prompt: prompts[i % prompts.length].repeat(1 + (i % 3)),
    options: { maxTokens: 8 + 3 * i, temperature: i % 2, seed: i, ignoreEos: true },
  }));
  const alone = [];
  for (const { prompt, options } of requests) alone.push(await plain.generate(prompt, options));
  const together = await Promise.all(requests.map(({ prompt, options }) => fast.generate(prompt, options)));
  expect(together.map((result) => result.tokens)).toEqual(alone.map((result) => result.tokens));
});

test('a prediction is a draft: the same tokens in fewer passes, and still the same where it is wrong', async () => {
  const request = { maxTokens: 96, temperature: 1, seed: 3, ignoreEos: true };
  const expected = await plain.generate('A tale:', request);
  const helped = await fast.generate('A tale:', { ...request, prediction: expected.text, tenant: 'helped' });
  expect(helped.tokens).toEqual(expected.tokens);
  expect(helped.usage.acceptedDraftTokens).toBeGreaterThan(0);
  expect(helped.speculation.rounds).toBeLessThan(expected.speculation.rounds);
  const misled = await fast.generate('A tale:', { ...request, prediction: 'nothing like it at all', tenant: 'misled' });
  expect(misled.tokens).toEqual(expected.tokens);
});

test('a request can go without speculation', async () => {
  const request = { maxTokens: 64, ignoreEos: true };
  const off = await fast.generate(prompts[5], { ...request, speculation: { enabled: false } });
  expect(off.speculation).toMatchObject({ draftedTokens: 0, acceptanceLength: 1, rounds: 63 });
  expect((await fast.generate(prompts[5], request)).tokens).toEqual(off.tokens);
});

test.each(['suffix', 'recall'] as const)('a request can name its drafter: %s', async (name) => {
  const request = { maxTokens: 96, ignoreEos: true, tenant: name, explain: true, speculation: { speculator: name } };
  const first = await fast.generate(prompts[2], request);
  const again = await fast.generate(prompts[2], request);
  expect(again.tokens).toEqual(first.tokens);
  expect(again.speculation.acceptedTokens).toBeGreaterThan(10);
  const used = new Set(again.rounds?.map(({ drafter }) => drafter));
  expect(used.has(name)).toBe(true);
  used.delete('none');
  expect([...used]).toEqual([name]);
});

test('a stop string ends the text before it, wherever it lies across tokens', async () => {
  const request = { maxTokens: 80, ignoreEos: true };
  const whole = await fast.generate(prompts[1], request);
  for (const [from, length] of [
    [5, 1],
    [9, 4],
    [20, 7],
  ]) {
    const stop = whole.text.slice(from, from + length);
    const cut = await fast.generate(prompts[1], { ...request, stop });
    expect(cut.finishReason).toBe('stop');
    expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(whole.tokens.slice(0, cut.tokens.length)).toEqual(cut.tokens);
    expect(cut.usage.completionTokens).toBe(cut.tokens.length);
    let shown = '';
    for await (const chunk of fast.stream(prompts[1], { ...request, stop })) shown += chunk.text;
    expect(shown).toBe(cut.text);
  }
});

test('a stop token ends the text and is the last token', async () => {
  const request = { maxTokens: 40, ignoreEos: true };
  const whole = await fast.generate(prompts[2], request);
  const stop = whole.tokens[10];
  const cut = await fast.generate(prompts[2], { ...request, stopTokens: [stop] });
  expect(cut.tokens).toEqual(whole.tokens.slice(0, whole.tokens.indexOf(stop) + 1));
  expect(cut.finishReason).toBe('stop');
  expect(whole.text.startsWith(cut.text.replace(/\ufffd$/, ''))).toBe(true);
});

test('control tokens are part of the text where asked for, and end it where they are a stop string', async () => {
  const [control] = fast.tokenize('<|im_start|>', { special: true });
  const request = { maxTokens: 3, ignoreEos: true, logitBias: { [control]: 1000 } };
  expect(await fast.generate('x', request)).toMatchObject({ text: '', tokens: [control, control, control] });
  const { text } = await fast.generate('x', { ...request, special: true });
  expect(text).toBe('<|im_start|>'.repeat(3));
  for (const special of [false, true]) {
    const cut = await fast.generate('x', { ...request, special, stop: ['never', '<|im_start|>'] });
    expect(cut).toMatchObject({ text: '', tokens: [control], finishReason: 'stop' });
  }
});

test('logprobs are those of the model: one entry per token, best alternatives first', async () => {
  const request = { maxTokens: 24, ignoreEos: true, logprobs: 5 };
  const { tokens, logprobs } = await fast.generate(prompts[0], request);
  expect(logprobs).toHaveLength(24);
  logprobs!.forEach((entry, i) => {
    expect(entry.token).toBe(tokens[i]);
    expect(entry.logprob).toBeLessThanOrEqual(0);
    expect(entry.top).toHaveLength(5);
    expect(entry.top[0]).toEqual({ token: entry.token, logprob: entry.logprob });
    for (let n = 1; n < 5; ++n) expect(entry.top[n].logprob).toBeLessThanOrEqual(entry.top[n - 1].logprob);
  });
  expect((await plain.generate(prompts[0], request)).logprobs).toEqual(logprobs);
});

test('explain lists every pass with its drafts', async () => {
  const result = await fast.generate(prompts[5], { maxTokens: 48, ignoreEos: true, explain: true });
  expect(result.rounds!.flatMap((round) => round.tokens)).toEqual(result.tokens);
  expect(result.rounds!.every((round) => round.seconds > 0)).toBe(true);
  const drafts = result.rounds!.flatMap((round) => round.drafts);
  expect(drafts.filter((draft) => draft.outcome === 'accepted')).toHaveLength(result.usage.acceptedDraftTokens);
  for (const { expected, drafts } of result.rounds!) {
    if (drafts.length === 0) expect(expected).toBe(1);
    else expect(expected).toBeGreaterThan(1);
    expect(expected).toBeLessThanOrEqual(1 + drafts.length);
  }
});

test('tokens as a prompt give what their text gives, and detokenize to it', async () => {
  const tokens = fast.tokenize(prompts[4], { addBos: true });
  expect(fast.detokenize(fast.tokenize(prompts[4]))).toBe(prompts[4]);
  const request = { maxTokens: 16, ignoreEos: true };
  expect((await fast.generate(tokens, request)).tokens).toEqual((await fast.generate(prompts[4], request)).tokens);
});

test('the bytes of tokens are those of their text, however it is cut up', () => {
  const tokens = fast.tokenize(prompts[4] + '<|im_end|>', { special: true });
  const bytes = tokens.map((token) => fast.tokenBytes(token));
  expect(Buffer.concat(bytes).toString()).toBe(prompts[4] + '<|im_end|>');
  expect(Buffer.from(bytes.at(-1)!).toString()).toBe('<|im_end|>');
  bytes[0].fill(0); // a copy
  expect(fast.tokenBytes(tokens[0])).not.toEqual(bytes[0]);
  expect(fast.tokenBytes(1e6)).toEqual(new Uint8Array());
  for (const id of [-1, 1.5, '1', undefined])
    expect(() => fast.tokenBytes(id as number)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});

test('says what was loaded, and what the controller thinks', () => {
  expect(fast.model).toMatchObject({ architecture: 'llama', threads: 2, chat: true });
  expect(fast.explain()).toMatch(/A pass of one row costs [\d.]+ ms/);
  expect(plain.explain()).toMatch(/disabled/);
});

test('who hears of an answer may count at once: it is among what was decoded, and waits no more', async () => {
  const engine = await load({ maxSequences: 1, speculation: false });
  let ended = 0;
  const asked = prompts.map(async (prompt) => {
    await engine.generate(prompt, { maxTokens: 200, ignoreEos: true });
    ended += 1;
    const { active, waiting, tokens } = engine.stats();
    expect(tokens).toBeGreaterThanOrEqual(200 * ended);
    expect(active + waiting).toBeLessThanOrEqual(prompts.length - ended);
  });
  expect(engine.stats()).toMatchObject({ active: 0, waiting: prompts.length });
  await Promise.all(asked);
  const { active, waiting, tokens } = engine.stats();
  expect({ active, waiting, tokens }).toEqual({ active: 0, waiting: 0, tokens: 200 * prompts.length });
});
