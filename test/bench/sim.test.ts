import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sim } from '../../bench/sim';
import { decodeByController, decodeByTable, oracleSeconds, plainSeconds } from '../../bench/sim/decode';
import { machines } from '../../bench/sim/machine';
import { appendRecording, readRecordings } from '../../bench/sim/recording';
import { longestRun, processes, synthesise, textOf } from '../../bench/sim/text';
import { fixedPolicy } from '../../bench/common/fixed-policy';
import { random } from '../../bench/common/stats';
import { loadBinding } from '../../lib/binding';
import { Controller } from '../../lib/controller/controller';
import { NodeOutcome, unpackNode } from '../../lib/controller/nodes';
import { Drafter } from '../../lib/native';
import type { Recording } from '../../lib';
import { prompts, tinyModel } from '../api/tiny';
import { chanceOf } from '../controller/world';

const tiny = tinyModel();
const machine = machines['cpu'];
const folder = mkdtempSync(join(tmpdir(), 'foretoken-sim-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(Object.keys(processes))('%s: no table is faster than the oracle, and each decodes every token', (name) => {
  const texts = synthesise(processes[name], 20, 64, random(1));
  const oracle = oracleSeconds(machine, texts);
  expect(oracle).toBeLessThanOrEqual(plainSeconds(machine, texts));
  for (const rows of [1, 4, 8]) {
    const { seconds, tokens } = decodeByTable(machine, texts, fixedPolicy(rows));
    expect(seconds).toBeGreaterThan(oracle);
    expect(tokens).toBe(20 * 63);
  }
});

test('a drafter that is not asked takes no time', () => {
  const texts = synthesise(processes['calibrated'], 4, 64, random(8));
  const { passSeconds, draftSeconds } = machine.profile;
  const secondsWith = (...drafters: Drafter[]): number => {
    const policy = new Controller({ ...machine.profile, passSeconds: passSeconds.map((_, i) => 1 + i) }, { drafters });
    return decodeByTable(machine, texts, policy.policy()).seconds; // rows so dear that nothing is verified
  };
  const plain = plainSeconds(machine, texts);
  const rounds = 4 * 63;
  expect(secondsWith()).toBeCloseTo(plain, 9);
  expect(secondsWith(Drafter.suffix)).toBeCloseTo(plain + rounds * draftSeconds[Drafter.suffix], 9);
  const both = draftSeconds[Drafter.suffix] + draftSeconds[Drafter.recall];
  expect(secondsWith(Drafter.suffix, Drafter.recall)).toBeCloseTo(plain + rounds * both, 9);
});

test('the controller beats the best fixed number where drafters know what they know, and loses nothing where they know nothing', () => {
  const decode = (name: string): { fixed: number; controlled: number } => {
    const texts = synthesise(processes[name], 80, 128, random(2));
    const fixed = [1, 2, 3, 4].map((rows) => decodeByTable(machine, texts, fixedPolicy(rows)).seconds);
    return {
      fixed: Math.min(plainSeconds(machine, texts), ...fixed),
      controlled: decodeByController(machine, texts, random(3)).seconds,
    };
  };
  for (const name of ['calibrated', 'drop', 'return']) {
    const { fixed, controlled } = decode(name);
    expect(controlled).toBeLessThan(fixed);
  }
  const { fixed, controlled } = decode('hopeless');
  expect(controlled).toBeLessThan(1.02 * fixed);
});

test('recorded answers are replayed: all verified, a run is as long as the recording says', async () => {
  const engine = await tiny.load();
  const { recording, tokens } = await engine.generate(prompts[1], {
    maxTokens: 100,
    ignoreEos: true,
    speculation: { record: true },
  });
  const text = textOf(recording!);
  expect(text.firstDraft).toHaveLength(tokens.length + 1);
  const runs = tokens.map((_, position) => longestRun(text, position));
  expect(Math.max(...runs)).toBeGreaterThan(0);
  runs.forEach((run, position) => expect(position + run).toBeLessThanOrEqual(tokens.length));
  const { rounds } = decodeByTable(machine, [text], fixedPolicy(40));
  expect(rounds).toBeLessThan(99);
});

test('recorded answers go to a file and are replayed from it as they were, by name', async () => {
  const engine = await tiny.load();
  const file = join(folder, 'answers.jsonl');
  const recordings: Recording[] = [];
  for (const prompt of prompts) {
    const ask = { maxTokens: 100, ignoreEos: true, speculation: { record: true } };
    const { recording } = await engine.generate(prompt, ask);
    appendRecording(file, recordings.length < 4 ? 'first' : 'last', recording!);
    recordings.push(recording!);
  }
  expect(readRecordings(file)).toEqual({
    first: recordings.slice(0, 4).map(textOf),
    last: recordings.slice(4).map(textOf),
  });
  const { summary, plot } = sim(file);
  for (const name of ['first', 'h100.first', 'last', 'b200.b256.last']) {
    expect(summary[`${name}.oracleSpeedup`]).toBeGreaterThanOrEqual(summary[`${name}.fixedSpeedup`]);
    expect(summary[`${name}.oracleSpeedup`]).toBeGreaterThan(0.98 * summary[`${name}.speedup`]); // whose passes are noisy
    expect(summary[`${name}.fixedSpeedup`]).toBeGreaterThanOrEqual(1);
    expect(summary[`${name}.worstWindow`]).toBeCloseTo(summary[`${name}.speedup`], 1); // no more than 8 answers
  }
  expect(plot).toContain('first');
});

test('of what was not verified the controller hears when the text decides it, no earlier, and all of it', () => {
  const [text] = synthesise(processes['underconfident'], 1, 64, random(6));
  const policy = new Controller(machine.profile).policy();
  const replay = loadBinding().createReplay();
  replay.begin(text);
  let right = 0;
  let told = 0;
  let late = 0;
  for (let position = 1; position < 64;) {
    right += Math.min(longestRun(text, position), 64 - position); // of a chain at every position
    const outcomes = replay.run(policy, 1);
    expect(outcomes.steps[5]).toBe(outcomes.draftOutcome.length);
    expect(outcomes.draftConfidence).toHaveLength(outcomes.draftOutcome.length);
    for (const { shadow, age, depth, outcome } of Array.from(outcomes.draftOutcome, unpackNode)) {
      told += outcome === NodeOutcome.accepted ? 1 : 0;
      if (!shadow) continue;
      expect(position - age + depth).toBeLessThanOrEqual(outcomes.position);
      if (age > 0) expect(position - age + depth).toBeGreaterThan(position);
      late += age > 0 ? 1 : 0;
    }
    position = outcomes.position;
  }
  expect(late).toBeGreaterThan(10);
  expect(told).toBe(right);
});

test('what is said to have been expected is what was planned with: the table, and what the text itself has shown', () => {
  let now = 0;
  const controller = new Controller(machine.profile, { now: () => (now += 5) });
  let expected = 0;
  const trusts: number[] = [];
  const replay = loadBinding().createReplay();
  for (const text of synthesise(processes['overconfident'], 12, 128, random(7))) {
    replay.begin(text);
    let promised = 0;
    let kept = 0;
    for (let position = 1; position < 128;) {
      const policy = controller.policy('a');
      const outcomes = replay.run(policy, 1);
      const { draftOutcome, draftConfidence, draftChance } = outcomes;
      promised *= 0.98;
      kept *= 0.98;
      const trust = (kept + policy.tableWeight) / (promised + policy.tableWeight);
      trusts.push(trust);
      let survival = 1;
      let tokens = 1;
      Array.from(draftOutcome, unpackNode).forEach(({ depth, outcome, shadow, drafter }, i) => {
        const said = chanceOf(policy.acceptance, drafter, depth, draftConfidence[i]);
        if (!shadow) {
          expect(draftChance[i]).toBeCloseTo(Math.min(0.99, said * trust), 5);
          tokens += survival *= draftChance[i];
        }
        if (outcome === NodeOutcome.unreached) return;
        promised += said;
        kept += outcome === NodeOutcome.accepted ? 1 : 0;
      });
      expected += tokens;
      controller.observe(outcomes, () => ({ tenant: 'a', kind: 'greedy' }));
      expect(controller.ledger.total.expected).toBeCloseTo(expected, 3);
      position = outcomes.position;
    }
  }
  expect(Math.max(...trusts)).toBeGreaterThan(1.02);
  expect(Math.min(...trusts)).toBeLessThan(0.95);
});

test("the head's drafts are left out of a replay", () => {
  const file = join(folder, 'head.jsonl');
  appendRecording(file, 'a', {
    ...{
      promptTokens: 3,
      tokens: 4,
      drafts: Int32Array.of(1, Drafter.head, 2, 1, Drafter.recall, 1, 2, Drafter.head, 1),
    },
    ...{ nodes: Uint8Array.of(128, 129, 128, 0), confidence: Float32Array.of(0.9, 0.8, 0.7, 0.6) },
  });
  const [text] = readRecordings(file)['a'];
  expect(text).toMatchObject({ drafts: Int32Array.of(Drafter.recall, 0, 0, 1), nodes: Uint8Array.of(128) });
  expect(longestRun(text, 1)).toBe(1);
});

test('a line that is no recorded answer is named, and drafts that a text does not hold are refused', () => {
  const file = join(folder, 'wrong.jsonl');
  writeFileSync(file, '{"tokens": 4}\n');
  expect(() => readRecordings(file)).toThrow(/wrong\.jsonl, line 1,/);
  const [text] = synthesise(processes['calibrated'], 1, 16, random(4));
  const policy = new Controller(machine.profile).policy();
  const replay = (change: Partial<typeof text>): void => {
    const native = loadBinding().createReplay();
    native.begin({ ...text, ...change });
    native.run(policy, 1);
  };
  replay({});
  expect(() => replay({ firstDraft: text.firstDraft.map(() => 100) })).toThrow('does not hold the drafts');
  expect(() => replay({ drafts: text.drafts.map((value) => 50 * value) })).toThrow('does not hold the drafts');
  expect(() => replay({ nodes: text.nodes.map(() => 127) })).toThrow('does not hold the drafts');
  expect(() => replay({ nodes: text.nodes.slice(1) })).toThrow('does not hold the drafts');
});
