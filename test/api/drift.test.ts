import { Engine } from '../../lib';
import type { DriftEvent, GenerateResult, LearningEvent, RequestOptions } from '../../lib';
import { prompts, tinyModel } from './tiny';

const tiny = tinyModel();

/** Rows that are dear: a token that is right half of the time is just worth its own. */
const profile = {
  passSeconds: Array.from({ length: 64 }, (_, i) => 3e-3 * (1 + 0.25 * i)),
  ...{ context: 0, secondsPerContextToken: 0 },
  draftSeconds: [0, 2e-6, 2e-6, 0, 2e-6, 2e-4, 4e-6],
};

const phaseLength = 50;
const indices = Array.from({ length: 3 * phaseLength }, (_, i) => i);

/** Almost any of the five likeliest tokens at every position: whoever has been told the text can draft it, and nobody else. */
function ask(engine: Engine, i: number, options: RequestOptions = {}): Promise<GenerateResult> {
  const drawn = { seed: i, temperature: 10, topK: 5, maxTokens: 40, ignoreEos: true };
  return engine.generate(prompts[i % prompts.length], { ...drawn, ...options });
}

/** What a caller expects who is wrong about one letter in so many. */
function expectation(text: string, wrongEvery: number): string {
  return Array.from(text, (letter, i) => ((i + 1) % wrongEvery === 0 ? '#' : letter)).join('');
}

/** Of some answers: drafted tokens a pass, tokens a pass, and the share of passes that drafted nothing. */
function chosen(results: GenerateResult[]): { lookahead: number; length: number; plain: number } {
  const sum = (of: (report: GenerateResult['speculation']) => number): number =>
    results.reduce((total, { speculation }) => total + of(speculation), 0);
  const passes = sum(({ rounds }) => rounds);
  return {
    lookahead: sum(({ draftedTokens }) => draftedTokens) / passes,
    length: sum(({ rounds, acceptanceLength }) => rounds * acceptanceLength) / passes,
    plain: 1 - sum(({ draftedRounds }) => draftedRounds) / passes,
  };
}

test('where drafts begin to fail there is an event and passes draft nothing; where they hold again, all is as before', async () => {
  const load = { cacheFolder: tiny.cache, threads: 2, memory: false };
  const plain = await tiny.load({ ...load, speculation: false });
  const expected = await Promise.all(indices.map((i) => ask(plain, i)));

  let now = 0;
  let events: DriftEvent[] = [];
  const onEvent = (event: DriftEvent | LearningEvent): void => void events.push(event as DriftEvent);
  const engine = await Engine.load(tiny.path, { ...load, onEvent }, { profile, now: () => now });
  const phase = async (number: number, wrongEvery: number): Promise<GenerateResult[]> => {
    events = [];
    const results: GenerateResult[] = [];
    for (const i of indices.slice(number * phaseLength, (number + 1) * phaseLength)) {
      now += 1000; // policy follows from request to request, whatever time they take
      const prediction = expectation(expected[i].text, wrongEvery);
      results.push(await ask(engine, i, { tenant: 'a', prediction, speculation: { maxLookahead: 4 } }));
      expect(results.at(-1)!.tokens).toEqual(expected[i].tokens);
    }
    return results;
  };

  const before = chosen(await phase(0, 12));
  expect(before.length).toBeGreaterThan(1.8);
  expect(events).toEqual([]);

  const failing = await phase(1, 3);
  expect(events).toMatchObject([{ kind: 'drift', tenant: 'a', drafter: 'prediction' }]);
  expect(events[0].seen).toBeLessThan(events[0].expected - 0.4);
  const settled = chosen(failing.slice(phaseLength / 2));
  expect(settled.lookahead).toBeLessThan(before.lookahead / 8);
  expect(settled.plain).toBeGreaterThan(0.9);
  expect(settled.length).toBeLessThan(1.1);

  const returned = await phase(2, 12);
  expect(events).toMatchObject([{ kind: 'recovered', tenant: 'a', drafter: 'prediction' }]);
  const after = chosen(returned.slice(phaseLength / 2));
  expect(after.lookahead).toBeGreaterThan(0.8 * before.lookahead);
  expect(after.length).toBeGreaterThan(0.95 * before.length);
  await engine.close();
});
