import fc from 'fast-check';
import { DecodeLoop } from '../../lib/decode/loop';
import type { GenerationRequest } from '../../lib/decode/generation';
import { GenerateStream } from '../../lib/decode/stream';
import { ForetokenError } from '../../lib/error';
import type { NativeRequest } from '../../lib/native';
import { CharacterText, ScriptedEngine, outcomes } from './scripted-engine';

const native = {} as NativeRequest;
const plain = {
  promptTokens: 1,
  stopTokens: new Set<number>(),
  stop: [],
  logprobs: -1,
  explain: false,
  record: false,
};
const codes = (text: string): number[] => Array.from(text, (character) => character.charCodeAt(0));

function begin(request: Partial<GenerationRequest> = {}, signal?: AbortSignal) {
  const engine = new ScriptedEngine();
  const loop = new DecodeLoop(() => engine);
  const full = {
    promptTokens: 3,
    stopTokens: new Set([0]),
    stop: [],
    logprobs: -1,
    explain: false,
    record: false,
    owner: { tenant: 'a', kind: 'greedy' as const },
    ...request,
  };
  const generation = loop.start(native, full, new CharacterText(), {}, signal);
  return { engine, loop, generation, stream: new GenerateStream(Promise.resolve(generation)) };
}

test('streams text as it is asked for and reports the whole at the end', async () => {
  const { engine, loop, stream } = begin();
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('he') }]));
  expect(await stream.next()).toEqual({ done: false, value: { text: 'he', tokens: codes('he') } });
  const waiting = stream.next();
  loop.onOutcomes(
    outcomes([
      { sequence: 1, tokens: codes('l'), round: 0 },
      {
        sequence: 1,
        tokens: codes('lo'),
        round: 1,
        drafter: 1,
        drafts: [
          [1, 0.9, 1],
          [2, 0.5, 0],
          [3, 0.4, 2],
        ],
      },
    ]),
  );
  expect((await waiting).value).toEqual({ text: 'llo', tokens: codes('llo') });
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: [0] }], { finished: [1, 0, 2] }));
  expect((await stream.next()).value).toEqual({ text: '', tokens: [0] });
  expect((await stream.next()).done).toBe(true);
  const result = await stream.result;
  expect(result).toMatchObject({ text: 'hello', tokens: [...codes('hello'), 0], finishReason: 'stop' });
  expect(result.usage).toEqual({
    promptTokens: 3,
    cachedPromptTokens: 2,
    completionTokens: 6,
    acceptedDraftTokens: 1,
    rejectedDraftTokens: 1,
  });
  expect(result.speculation).toMatchObject({ rounds: 3, draftedRounds: 1, draftedTokens: 3, acceptanceLength: 4 / 3 });
  expect(engine.told).toEqual(['consumed 1 2', 'consumed 1 5', 'finish 1 6']);
});

test('a result says from which token on which weights drew, whatever lies behind its end', async () => {
  const { loop, generation } = begin({ stop: ['END'] });
  loop.onOutcomes(
    outcomes([
      { sequence: 1, tokens: codes('ab'), weights: 3 },
      { sequence: 1, tokens: [], weights: 4 },
    ]),
  );
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('c'), weights: 3 }]));
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('dE'), weights: 5 }]));
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('NDx'), weights: 6 }]));
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('y'), weights: 7 }], { finished: [1, 2, 0] }));
  expect((await generation.result).weights).toEqual([
    { version: 3, from: 0 },
    { version: 5, from: 3 },
    { version: 6, from: 5 },
  ]);
});

test('tokens count as consumed only when the consumer takes them, or at once when nobody streams', async () => {
  const streamed = begin();
  streamed.loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('abc') }]));
  expect(streamed.engine.told).toEqual([]);

  const whole = begin();
  const result = whole.stream.result;
  await new Promise(setImmediate);
  whole.loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('abc') }]));
  expect(whole.engine.told).toEqual(['unread 1']);
  whole.loop.onOutcomes(outcomes([], { finished: [1, 1, 0] }));
  expect(await result).toMatchObject({ text: 'abc', finishReason: 'length' });
});

test('who waits for a stop string gets every round, read or not', async () => {
  const whole = begin({ stop: ['END'] });
  void whole.stream.result;
  await new Promise(setImmediate);
  expect(whole.engine.told).toEqual(['consumed 1 0']);
});

test('a stop string ends the answer at once: what the engine ran ahead is never shown or counted', async () => {
  const { engine, loop, generation } = begin({ stop: ['END'] });
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('one E') }]));
  loop.onOutcomes(
    outcomes([
      { sequence: 1, tokens: codes('NDxyz') },
      { sequence: 1, tokens: codes('more') },
    ]),
  );
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('and more') }]));
  loop.onOutcomes(outcomes([], { finished: [1, 2, 1] }));
  const result = await generation.result;
  expect(result).toMatchObject({ text: 'one ', tokens: codes('one END'), finishReason: 'stop' });
  expect(result.usage).toMatchObject({ completionTokens: 7, cachedPromptTokens: 1 });
  expect(engine.told).toEqual(['finish 1 7']);
});

test('streaming gives what the whole result gives, for any split into crossings and any reading', async () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\0'), maxLength: 30 });
  const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 3 }), { maxLength: 3 });
  const sizes = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(letters, stops, sizes, async (text, stop, split) => {
      const { loop, stream, engine } = begin({ stop });
      let shown = '';
      const reader = (async () => {
        for await (const chunk of stream) shown += chunk.text;
      })();
      let at = 0;
      for (let i = 0; at < text.length; ++i) {
        const size = split[i % split.length];
        loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes(text.slice(at, at + size)) }]));
        if (size % 2 === 0) await Promise.resolve();
        at += size;
      }
      loop.onOutcomes(outcomes([], { finished: [1, 1, 0] }));
      await reader;
      const result = await stream.result;
      expect(shown).toBe(result.text);
      expect(engine.told.filter((line) => line.startsWith('finish'))).toEqual([`finish 1 ${result.tokens.length}`]);

      const once = begin({ stop });
      if (text.length > 0) once.loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes(text) }]));
      once.loop.onOutcomes(outcomes([], { finished: [1, 1, 0] }));
      const whole = await once.stream.result;
      expect({ ...result, timings: 0, speculation: 0 }).toEqual({ ...whole, timings: 0, speculation: 0 });
    }),
    { numRuns: 300 },
  );
});

test('an aborted request fails with ABORTED at its reader and its result, and is cut in the engine', async () => {
  const abort = new AbortController();
  const { engine, loop, stream } = begin({}, abort.signal);
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('ab') }]));
  await stream.next();
  const waiting = stream.next();
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'ForetokenError', code: 'ABORTED' });
  await expect(stream.result).rejects.toMatchObject({ code: 'ABORTED' });
  expect(engine.told).toEqual(['consumed 1 2', 'finish 1 2']);
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('late') }], { finished: [1, 2, 0] }));
  await loop.drain(); // nothing is left
});

test('an end that nobody waits for does not end the process where it fails', async () => {
  const unhandled = jest.fn();
  process.on('unhandledRejection', unhandled);
  const abort = new AbortController();
  const { stream } = begin({}, abort.signal);
  const ended = stream.ended;
  const reading = stream.next();
  abort.abort();
  await expect(reading).rejects.toMatchObject({ code: 'ABORTED' });
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  process.off('unhandledRejection', unhandled);
  expect(unhandled).not.toHaveBeenCalled();
  await expect(ended).rejects.toMatchObject({ code: 'ABORTED' });
});

test('leaving the loop cancels; the result has what came so far', async () => {
  const { engine, loop, stream } = begin();
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('abc') }]));
  for await (const chunk of stream) {
    expect(chunk.text).toBe('abc');
    setImmediate(() => loop.onOutcomes(outcomes([], { finished: [1, 2, 0] })));
    break;
  }
  expect(engine.told).toEqual(['consumed 1 3', 'finish 1 3']);
  expect(await stream.result).toMatchObject({ text: 'abc', finishReason: 'cancelled' });
});

test('leaving ends the text: what was held back because a stop string might have come is in the result', async () => {
  const { loop, stream } = begin({ stop: ['END'] });
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('one EN') }]));
  expect((await stream.next()).value).toMatchObject({ text: 'one ' });
  const left = stream.return();
  await new Promise(setImmediate);
  loop.onOutcomes(outcomes([], { finished: [1, 2, 0] }));
  await left;
  expect(await stream.result).toMatchObject({ text: 'one EN', tokens: codes('one EN'), finishReason: 'cancelled' });
});

test('leaving a generation that could not begin is no error; its result is one', async () => {
  const stream = new GenerateStream(Promise.reject(new ForetokenError('CONTEXT_EXCEEDED', 'too long')));
  expect(await stream.return()).toEqual({ done: true, value: undefined });
  await expect(stream.result).rejects.toMatchObject({ code: 'CONTEXT_EXCEEDED' });
});

test('reads that are asked for together are answered one after the other', async () => {
  const { loop, stream } = begin();
  const reads = [stream.next(), stream.next(), stream.next(), stream.next()];
  await new Promise(setImmediate);
  for (const text of ['ab', 'c']) {
    loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes(text) }]));
    await new Promise(setImmediate);
  }
  loop.onOutcomes(outcomes([], { finished: [1, 1, 0] }));
  expect((await Promise.all(reads)).map(({ value }) => value?.text)).toEqual(['ab', 'c', undefined, undefined]);
});

test('after a reader has left there is nothing to read, whatever had come', async () => {
  const { loop, stream } = begin();
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('a') }]));
  await stream.next();
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('bc') }]));
  const left = stream.return();
  expect(await stream.next()).toEqual({ done: true, value: undefined });
  await new Promise(setImmediate);
  loop.onOutcomes(outcomes([], { finished: [1, 2, 0] }));
  await left;
  expect(await stream.result).toMatchObject({ text: 'abc', finishReason: 'cancelled' });
});

test('the time to the first token begins with the call, not when its prompt had been read', async () => {
  const engine = new ScriptedEngine();
  const loop = new DecodeLoop(() => engine);
  const site = { began: performance.now() - 5000 };
  const { result } = loop.start(native, { ...plain, owner: undefined }, new CharacterText(), site);
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('a') }], { finished: [1, 1, 0] }));
  expect((await result).timings.ttft).toBeGreaterThan(5);
});

test('what was used is told at the end, also of what was aborted or has failed', async () => {
  const abort = new AbortController();
  const { loop, generation } = begin({}, abort.signal);
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('ab') }]));
  abort.abort();
  loop.onOutcomes(outcomes([], { finished: [1, 2, 1] }));
  expect(await generation.used).toMatchObject({ promptTokens: 3, cachedPromptTokens: 1, completionTokens: 2 });

  const failing = begin();
  failing.loop.onOutcomes(outcomes([], { errors: [{ sequence: 1, code: 'KV_EXHAUSTED', message: 'no page left' }] }));
  expect(await failing.generation.used).toMatchObject({ promptTokens: 3, completionTokens: 0 });
});

test('an error of one sequence reaches its reader alone, with the stack of the call', async () => {
  const engine = new ScriptedEngine();
  const loop = new DecodeLoop(() => engine);
  const request = { ...plain, owner: { tenant: 'a', kind: undefined } };
  const site = { stack: 'Error\n    at userCode (user.js:1:1)' };
  const first = loop.start(native, request, new CharacterText(), site);
  const second = loop.start(native, request, new CharacterText(), {});
  loop.onOutcomes(
    outcomes([{ sequence: 2, tokens: codes('ok') }], {
      errors: [{ sequence: 1, code: 'KV_EXHAUSTED', message: 'no page left' }],
      finished: [2, 1, 0],
    }),
  );
  const error = (await first.result.catch((reason: unknown) => reason)) as Error;
  expect(error).toMatchObject({ code: 'KV_EXHAUSTED', message: 'no page left' });
  expect(error.stack).toContain('userCode (user.js:1:1)');
  expect(await second.result).toMatchObject({ text: 'ok' });
});

test('logprobs are split over sequences that asked for different numbers of them', async () => {
  const engine = new ScriptedEngine();
  const loop = new DecodeLoop(() => engine);
  const request = { ...plain, owner: { tenant: 'a', kind: undefined } };
  const none = loop.start(native, { ...request, logprobs: -1 }, new CharacterText(), {});
  const two = loop.start(native, { ...request, logprobs: 2 }, new CharacterText(), {});
  const zero = loop.start(native, { ...request, logprobs: 0 }, new CharacterText(), {});
  loop.onOutcomes(
    outcomes(
      [
        { sequence: 2, tokens: [97], logprobs: [-0.5, 97, -0.5, 98, -2] },
        { sequence: 1, tokens: [99] },
        { sequence: 3, tokens: [98, 99], logprobs: [-1, -3] },
        { sequence: 2, tokens: [98], logprobs: [-1.5, 99, -0.25, 98, -1.5] },
      ],
      { finished: [1, 1, 0, 2, 1, 0, 3, 1, 0] },
    ),
  );
  expect((await none.result).logprobs).toBeUndefined();
  expect((await two.result).logprobs).toEqual([
    {
      token: 97,
      logprob: -0.5,
      top: [
        { token: 97, logprob: -0.5 },
        { token: 98, logprob: -2 },
      ],
    },
    {
      token: 98,
      logprob: -1.5,
      top: [
        { token: 99, logprob: -0.25 },
        { token: 98, logprob: -1.5 },
      ],
    },
  ]);
  expect((await zero.result).logprobs).toEqual([
    { token: 98, logprob: -1, top: [] },
    { token: 99, logprob: -3, top: [] },
  ]);
});

test('a request that failed while its sequence ran on takes no logprobs of others along', async () => {
  const engine = new ScriptedEngine();
  const loop = new DecodeLoop(() => engine);
  const request = { ...plain, owner: { tenant: 'a', kind: undefined }, logprobs: 0 };
  const lost = loop.start(native, request, new CharacterText(), {});
  const other = loop.start(native, request, new CharacterText(), {});
  loop.onOutcomes(outcomes([], { errors: [{ sequence: 1, code: 'OUT_OF_MEMORY', message: 'no memory left' }] }));
  const steps = [
    { sequence: 1, tokens: [97, 98], logprobs: [-1, -2] },
    { sequence: 2, tokens: [99], logprobs: [-3] },
  ];
  loop.onOutcomes(outcomes(steps, { finished: [2, 1, 0] }));
  await expect(lost.result).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
  expect((await other.result).logprobs).toEqual([{ token: 99, logprob: -3, top: [] }]);
});

test('draining lifts back-pressure and waits for every request', async () => {
  const { engine, loop } = begin();
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('ab') }]));
  let drained = false;
  const waiting = loop.drain().then(() => (drained = true));
  loop.onOutcomes(outcomes([{ sequence: 1, tokens: codes('cd') }]));
  await Promise.resolve();
  expect(drained).toBe(false);
  loop.onOutcomes(outcomes([], { finished: [1, 1, 0] }));
  await waiting;
  expect(engine.told).toEqual(['unread 1', 'finish 1 4']);
});

/** Three requests, the first of which the engine can't hear. */
function beginDeaf(request: Partial<GenerationRequest> = {}) {
  const engine = new ScriptedEngine();
  const loop = new DecodeLoop(() => engine);
  const full = { ...plain, owner: { tenant: 'a', kind: undefined }, ...request };
  const [lost, ...others] = [1, 2, 3].map(() => loop.start(native, full, new CharacterText(), {}));
  engine.deafTo.add(1);
  const all = (text: string) => [1, 2, 3].map((sequence) => ({ sequence, tokens: codes(text) }));
  return { engine, loop, lost, others, all };
}

const outOfMemory = { name: 'ForetokenError', code: 'OUT_OF_MEMORY', message: 'no memory left' };

test('what the engine has no memory to hear of one reader fails that one alone', async () => {
  const { loop, lost, others, all } = beginDeaf();
  const reads = [lost, ...others].map((generation) => generation.next());
  loop.onOutcomes(outcomes(all('ab')));
  expect((await Promise.all(reads)).map((chunk) => chunk?.text)).toEqual(['ab', 'ab', 'ab']);
  await expect(lost.next()).rejects.toMatchObject(outOfMemory);
  await expect(lost.result).rejects.toMatchObject(outOfMemory);
  loop.onOutcomes(outcomes(all('c'), { finished: [1, 2, 0, 2, 1, 0, 3, 1, 0] }));
  for (const other of others) expect(await other.result).toMatchObject({ text: 'abc', finishReason: 'length' });
});

test('so does what it has no memory to hear of one that is not read', async () => {
  const { loop, lost, others, all } = beginDeaf({ stop: ['END'] });
  loop.onOutcomes(outcomes(all('ab')));
  const drained = loop.drain();
  await expect(lost.result).rejects.toMatchObject(outOfMemory);
  loop.onOutcomes(outcomes(all('c'), { finished: [1, 2, 0, 2, 1, 0, 3, 1, 0] }));
  for (const other of others) expect(await other.result).toMatchObject({ text: 'abc', finishReason: 'length' });
  await drained;
});

test('an end that the engine has no memory to hear of fails that request, and is told until it is heard', async () => {
  jest.useFakeTimers();
  try {
    const { engine, loop, lost, others, all } = beginDeaf({ stop: ['END'] });
    loop.onOutcomes(outcomes(all('abEND')));
    await expect(lost.result).rejects.toMatchObject(outOfMemory);
    expect(engine.told).toEqual(['finish 2 5', 'finish 3 5']);
    jest.runOnlyPendingTimers();
    expect(engine.told).toHaveLength(2);
    engine.deafTo.clear();
    jest.runOnlyPendingTimers();
    expect(engine.told).toEqual(['finish 2 5', 'finish 3 5', 'finish 1 5']);
    loop.onOutcomes(outcomes([], { finished: [1, 2, 0, 2, 2, 0, 3, 2, 0] }));
    for (const other of others) expect(await other.result).toMatchObject({ text: 'ab', finishReason: 'stop' });
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});
