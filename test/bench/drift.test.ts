import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fixedPolicy } from '../../bench/common/fixed-policy';
import type { Answer } from '../../bench/common/answer';
import type { Pass } from '../../bench/common/prices';
import { sum } from '../../bench/common/stats';
import { worstRatio } from '../../bench/common/windows';
import { readStream } from '../../bench/drift';
import { costsOf, machineOf, rowPrices, type Price } from '../../bench/drift/prices';
import { recovery, shiftsOf, type Paired } from '../../bench/drift/recovery';
import { decodeByTable, oracleSeconds } from '../../bench/sim/decode';
import { longestRun, textOf } from '../../bench/sim/text';
import { Drafter } from '../../lib/native';
import type { Recording } from '../../lib';

/** A recording in which the same chain is drafted at every position: `right[p]` of its nodes are what the text says there. */
function chains(right: readonly number[], length: number): Recording {
  const drafts: number[] = [];
  const nodes: number[] = [];
  for (let p = 1; p < right.length; ++p) {
    drafts.push(p, Drafter.recall, length);
    for (let n = 0; n < length; ++n) nodes.push(n | (n < right[p] ? 128 : 0));
  }
  const confidence = new Float32Array(nodes.length).fill(0.9);
  const tokens = right.length;
  return { promptTokens: 5, tokens, drafts: Int32Array.from(drafts), nodes: Uint8Array.from(nodes), confidence };
}

const price = (rows: number): number => 1 + 0.1 * rows;
const oracle = (recording: Recording, at: Price = price): number => oracleSeconds(machineOf(at), [textOf(recording)]);
const fixed = (recording: Recording, lookahead: number): number =>
  decodeByTable(machineOf(price), [textOf(recording)], fixedPolicy(lookahead)).seconds;

test('an oracle verifies what is right and pays, and nothing else', () => {
  // From 1: three right (1..3), then the target's own token 4; from 5: nothing; from 6: one right ends the text of 8.
  const positions = chains([0, 3, 2, 1, 0, 0, 1, 0], 4);
  expect(oracle(positions)).toBeCloseTo(price(4) + price(1) + price(2));
  const dear = (rows: number): number => rows; // a row more costs what a pass does
  expect(oracle(positions, dear)).toBeCloseTo(7);
});

test('a fixed lookahead pays for every row and goes on behind what was right', () => {
  const positions = chains([0, 3, 2, 1, 0, 0, 1, 0], 4);
  expect(fixed(positions, 2)).toBeCloseTo(4 * price(3)); // at 1, 4, 5, 6
  expect(fixed(positions, 0)).toBeCloseTo(7 * price(1));
  expect(fixed(positions, 4)).toBeGreaterThanOrEqual(oracle(positions));
});

test('a tree is followed along the branch that is right', () => {
  const recording: Recording = {
    ...{ promptTokens: 1, tokens: 3, drafts: Int32Array.of(1, Drafter.suffix, 3) },
    nodes: Uint8Array.of(0, 0 | 128, 2 | 128), // two first tokens; the second is right, and so is its child
    confidence: Float32Array.of(0.9, 0.8, 0.9),
  };
  expect(longestRun(textOf(recording), 1)).toBe(2);
  expect(fixed(recording, 3)).toBeCloseTo(price(4)); // one of them ends the text
});

test('prices are medians by rows, never fall, and are straight between', () => {
  const pass = (rows: number, seconds: number): Parameters<typeof rowPrices>[0][number] => ({
    ...{ drafter: 'recall', context: 0, accepted: 0, rows, seconds },
  });
  const of = rowPrices([
    ...Array.from({ length: 8 }, () => pass(1, 1)),
    ...Array.from({ length: 8 }, () => pass(3, 2)),
    ...Array.from({ length: 8 }, () => pass(5, 1.5)),
    pass(4, 100),
  ]);
  expect(of(2)).toBeCloseTo((1 + of(3)) / 2);
  expect(of(5)).toBeGreaterThanOrEqual(of(3));
  expect(of(4)).toBeLessThan(3);
});

test('a round that drafts nothing costs what it took in its own arm', () => {
  const arm = (seconds: number): { passes: Pass[] } => ({
    passes: Array.from({ length: 16 }, () => ({ drafter: 'none', rows: 1, context: 0, accepted: 0, seconds })),
  });
  const requests = Array.from({ length: 16 }, () => ({ plain: arm(3), static: arm(3.3), adaptive: arm(3.6) }));
  const { arms, drafting, plainRound } = costsOf(requests);
  const seconds = (of: keyof typeof arms): number[] => requests.map((request) => arms[of].seconds(request[of].passes));
  expect(sum(seconds('plain')) / sum(seconds('adaptive'))).toBeCloseTo(0.833, 3);
  expect(worstRatio(seconds('adaptive'), seconds('plain'), seconds('static'))).toBeCloseTo(0.833, 3);
  expect(plainRound).toBe(3);
  expect(drafting(1)).toBeCloseTo(3.45);
});

test('recovery is the end of the first window that is as good as the reference and stays so', () => {
  expect(recovery([1, 1, 1], 2)).toBe(2);
  expect(recovery([0.8, 0.96, 0.8, 0.97, 0.98, 1], 2)).toBe(5);
  expect(recovery([0.5, 0.6], 2)).toBe(Infinity);
});

/** Two phases of so many requests; behind the shift it takes so many until they are as good as the reference's. */
function shifted(length: number, slow: number): Paired[] {
  const answer = (rounds: number): Answer => ({
    ...{ text: '', tokens: [], seconds: 1, counted: 120, gap: 0, prefillSeconds: 0, passes: [], rounds },
  });
  return Array.from({ length: 2 * length }, (_, i) => ({
    phase: i < length ? 0 : 1,
    arms: { reference: answer(40), adaptive: answer(i >= length && i < length + slow ? 60 : 40) },
  }));
}

test('a shift has recovered in time where that is over within a quarter of the phase', () => {
  expect([0, 2, 3, 6].map((slow) => shiftsOf(shifted(16, slow))[0].requests)).toEqual([2, 4, 5, 8]);
  expect([0, 2, 3, 6].map((slow) => shiftsOf(shifted(16, slow))[0].inTime)).toEqual([true, true, false, false]);
  expect(shiftsOf(shifted(16, 16))).toEqual([
    { phase: 1, requests: Infinity, inTime: false, dip: expect.closeTo(1 / 3) },
  ]);
  expect(shiftsOf(shifted(4, 0))[0].inTime).toBe(true);
});

test('rounds of a window count together, not request by request', () => {
  const requests = shifted(16, 0);
  requests[16].arms.adaptive.rounds = 48; // 5/6 alone, 80/88 with the next
  expect(shiftsOf(requests)[0].dip).toBeCloseTo(1 - 80 / 88);
});

test('the worst window is held against the better alternative', () => {
  const ours = Array.from({ length: 10 }, () => 1);
  const slower = ours.map(() => 2);
  const faster = ours.map((_, i) => (i < 8 ? 0.9 : 2));
  expect(worstRatio(ours, slower)).toBeCloseTo(2);
  expect(worstRatio(ours, slower, faster)).toBeCloseTo(0.9);
});

test('a limit of 0 asks all of a stream of one phase, and of phases the half that the reference does not see', () => {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-drift-'));
  const write = (name: string, phases: number[]): void =>
    writeFileSync(join(folder, 'streams', `${name}.jsonl`), phases.map((phase) => `{ "phase": ${phase} }\n`).join(''));
  mkdirSync(join(folder, 'streams'));
  write('one', [0, 0, 0, 0, 0, 0, 0]);
  write('two', [0, 0, 0, 0, 0, 1, 1, 1, 1]);
  const counts = (name: string, limit: number): number[] => {
    const { asked, others } = readStream(folder, name, limit);
    return [asked.length, ...others.map(({ length }) => length)];
  };
  expect(counts('one', 0)).toEqual([7]);
  expect(counts('one', 2)).toEqual([6]);
  expect(counts('two', 0)).toEqual([4, 2, 2]);
  expect(counts('two', 1)).toEqual([2, 1, 1]);
  rmSync(folder, { recursive: true });
});
