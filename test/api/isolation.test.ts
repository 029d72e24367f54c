import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';
import type { DriftEvent, GenerateResult, LearningEvent, LoadOptions, RequestOptions, RoundTrace } from '../../lib';
import { givenPrices, prompts, tinyHead, tinyModel, until } from './tiny';

const tiny = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-isolation-'));
const head = tinyHead(tiny, folder);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

// The learner runs where nobody else wants the processor: on a busy machine it takes its time.
jest.setTimeout(600_000);

type Plan = Pick<RoundTrace, 'drafter' | 'expected' | 'drafts' | 'tokens'>;

/** All of a tenant's that others might have had a hand in. */
interface Seen {
  /** Request by request: the text, every pass with its plan and drafts, what was counted. */
  results: unknown[];
  /** What it remembers after each. */
  memory: string[];
  events: (LearningEvent | DriftEvent)[];
}

/** Requests of one tenant: every second one in a session, each third one sampled, some twice, so that prefixes are found. */
function requestsOf(tenant: string, count: number): [string, RequestOptions][] {
  return Array.from({ length: count }, (_, i) => [
    prompts[(i * 5) % prompts.length] + ' again'.repeat(i % 4),
    {
      ...{ tenant, maxTokens: 40 + (i % 3) * 30, ignoreEos: true, explain: true, seed: i },
      ...{ session: i % 2 ? `s${i % 4}` : '', temperature: i % 3 === 2 ? 0.8 : 0 },
    },
  ]);
}

/** What tenant a sees of itself, alone or with another one's requests in between, the same prompts and sessions among them. */
async function observe(options: LoadOptions, count: number, others: boolean): Promise<Seen> {
  let now = 0;
  const seen: Seen = { results: [], memory: [], events: [] };
  const onEvent = (event: LearningEvent | DriftEvent): void => void (event.tenant === 'a' && seen.events.push(event));
  const load = { cacheFolder: tiny.cache, threads: 2, memory: false, head: head.path, onEvent, ...options };
  const engine = await Engine.load(tiny.path, load, { profile: givenPrices, now: () => now });
  let texts = 0;
  const ask = async (prompt: string, request: RequestOptions): Promise<GenerateResult> => {
    now += 1000;
    const result = await engine.generate(prompt, request);
    if (request.learn !== false) texts += 1;
    const isDone = (): boolean => {
      const { learnedTexts, learningSteps, learningLayerSteps } = engine.stats();
      const steps = 8 * texts;
      return !options.learnHead || (learnedTexts === texts && learningSteps === steps && learningLayerSteps === steps);
    };
    await until(isDone);
    return result;
  };
  const ofOthers = requestsOf('b', count).reverse();
  for (const [i, [prompt, request]] of requestsOf('a', count).entries()) {
    const { text, tokens, finishReason, speculation, usage, rounds } = await ask(prompt, request);
    const plans = rounds!.map(({ drafter, expected, drafts, tokens }) => ({ drafter, expected, drafts, tokens }));
    const counted = { accepted: usage.acceptedDraftTokens, rejected: usage.rejectedDraftTokens, ...speculation };
    seen.results.push({ text, tokens, finishReason, plans, ...counted });
    const file = join(folder, 'a.memory.safetensors');
    await engine.exportMemory(file, 'a');
    seen.memory.push(readFileSync(file).toString('base64'));
    if (!others) continue;
    await ask(...ofOthers[i]);
    if (i % 3 === 0) await ask(prompt, { ...request, tenant: 'b', temperature: 0.9 });
    if (i % 4 === 0)
      await ask(prompt, { ...request, tenant: 'c', group: 'others', prediction: text, learn: !options.learnHead });
    if (i % 5 === 4) await engine.forget({ tenant: 'c' });
  }
  await engine.close();
  return seen;
}

test.each<[string, LoadOptions, number]>([
  ['with room for all', {}, 18],
  // A tenant's quarter holds a single segment, and pages are as many as one sequence needs.
  ['short of memory', { indexBytes: 2 << 20, contextLength: 256, maxSequences: 1, kvBytes: 1_400_000 }, 18],
  ['while heads learn', { learnHead: true }, 6],
])(
  '%s, plans, drafts, events and evictions of a tenant are the same bits with another one and without',
  async (_, options, count) => {
    const alone = await observe(options, count, false);
    const beside = await observe(options, count, true);
    expect(beside).toEqual(alone);
    const drafters = new Set(
      alone.results.flatMap((result) => (result as { plans: Plan[] }).plans.map(({ drafter }) => drafter)),
    );
    expect([...drafters].sort()).toEqual(['blend', 'head', 'none', 'recall']);
    expect(new Set(alone.memory).size).toBeGreaterThan(3);
    if (options.indexBytes)
      expect(alone.memory.some((memory, i) => i > 0 && memory.length < alone.memory[i - 1].length)).toBe(true);
    // Of drafts that were not accepted nothing is told but how deep they were and how sure their drafter was.
    for (const { plans, tokens } of alone.results as { plans: Plan[]; tokens: number[] }[]) {
      expect(plans.flatMap((plan) => plan.tokens)).toEqual(tokens);
      const told = new Set(plans.flatMap(({ drafts }) => drafts.flatMap((draft) => Object.keys(draft))));
      for (const what of told) expect(['confidence', 'depth', 'outcome']).toContain(what);
    }
    for (const event of alone.events)
      if ('evidence' in event) expect(Object.values(event.evidence).every(Number.isFinite)).toBe(true);
    if (options.learnHead) expect(alone.events.map(({ kind }) => kind)).toContain('candidate');
  },
);

test('tenants learn together where they ask for it, and who is forgotten takes along what the group has learned', async () => {
  const load = { cacheFolder: tiny.cache, threads: 2, memory: false };
  const engine = await Engine.load(tiny.path, load, { profile: givenPrices, now: () => 0 });
  const accepted = async (tenant: string, group?: string): Promise<number> => {
    const speculation = { speculator: 'recall' } as const;
    const options = { tenant, group, maxTokens: 48, ignoreEos: true, learn: false, speculation };
    return (await engine.generate(prompts[2], options)).usage.acceptedDraftTokens;
  };
  const teach = (tenant: string, group?: string): Promise<unknown> =>
    engine.generate(prompts[2], { tenant, group, maxTokens: 48, ignoreEos: true });
  const untaught = await accepted('b', 'team');
  await teach('a', 'team');
  expect(await accepted('b', 'team')).toBeGreaterThan(untaught);
  for (const [tenant, group] of [['a'], ['b'], ['team'], ['b', 'other']])
    expect(await accepted(tenant, group)).toBe(untaught);
  await teach('b', 'team');
  await engine.forget({ tenant: 'c' });
  expect(await accepted('c', 'team')).toBeGreaterThan(untaught);
  await engine.forget({ tenant: 'a' });
  expect(await accepted('b', 'team')).toBe(untaught);
  await teach('b', 'team');
  await engine.forget({ group: 'team' });
  expect(await accepted('b', 'team')).toBe(untaught);
  await expect(engine.generate('x', { tenant: '\0team' })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  await engine.close();
});

test('a head that a group teaches learns from all its tenants, and is gone when one of them is forgotten', async () => {
  const events: LearningEvent[] = [];
  const onEvent = (event: LearningEvent | DriftEvent): void => void ('version' in event && events.push(event));
  const load = { cacheFolder: tiny.cache, threads: 2, memory: false, head: head.path, learnHead: true, onEvent };
  const engine = await Engine.load(tiny.path, load, { profile: givenPrices, now: () => 0 });
  const teach = async (tenant: string, group?: string): Promise<void> => {
    const { learnedTexts } = engine.stats();
    await engine.generate(prompts[0], { tenant, group, maxTokens: 48, ignoreEos: true });
    await until(() => engine.stats().learnedTexts > learnedTexts);
  };
  await teach('alone');
  for (let i = 0; i < 200 && events.length === 0; ++i) await teach(i % 2 ? 'a' : 'b', 'team');
  expect(engine.stats().learningTenants).toBe(2); // the group, and who learns for itself
  expect(events[0]).toMatchObject({ kind: 'candidate', tenant: 'team', group: true });
  await engine.forget({ tenant: 'c' });
  await teach('alone');
  expect(engine.stats().learningTenants).toBe(2);
  await engine.forget({ tenant: 'a' });
  await until(() => engine.stats().learningTenants === 1);
  expect(engine.stats().learningTenants).toBe(1);
  await teach('b', 'team'); // begins anew
  await until(() => engine.stats().learningTenants === 2);
  expect(engine.stats().learningTenants).toBe(2);
  await engine.close();
});
