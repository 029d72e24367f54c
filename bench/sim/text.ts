import type { Recording } from '../../lib/index';
import { Drafter, type NativeReplayText } from '../../lib/native';

/** A recorded answer as the simulator replays it; its first token came with the prompt's pass. */
export function textOf({ promptTokens, tokens, drafts, nodes, confidence }: Recording): NativeReplayText {
  const firstDraft = new Int32Array(tokens + 1);
  const rows = new Int32Array((2 * drafts.length) / 3 + 2);
  let position = 0;
  let node = 0;
  for (let d = 0; 3 * d < drafts.length; ++d) {
    while (position <= drafts[3 * d]) firstDraft[position++] = d;
    rows.set([drafts[3 * d + 1], node], 2 * d);
    node += drafts[3 * d + 2];
  }
  firstDraft.fill(drafts.length / 3, position);
  rows.set([0, node], rows.length - 2);
  return { promptTokens, firstDraft, drafts: rows, nodes, confidence };
}

/** How many drafted tokens would be accepted at a position if all were verified: those of the best draft there. */
export function longestRun({ firstDraft, drafts, nodes }: NativeReplayText, position: number): number {
  let longest = 0;
  for (let d = firstDraft[position]; d < firstDraft[position + 1]; ++d) {
    let run = 0;
    for (let n = drafts[2 * d + 1]; n < drafts[2 * d + 3]; ++n) run += nodes[n] >> 7;
    longest = Math.max(longest, run);
  }
  return longest;
}

/** What is drafted along a text in which every token's chance is known: a chain at every position, whatever was right before. */
export interface Process {
  /** The drafter's confidence in a token, 0..1. */
  confidence: (next: () => number) => number;
  /** The true chance that a token whose prefix was right is right; `progress`: how much of the process is over, 0..1. */
  chance: (confidence: number, depth: number, progress: number) => number;
  /** How many tokens are drafted. Defaults to 8. */
  length?: (next: () => number) => number;
}

const chainLength = 8;
const promptTokens = 200;

/** So many answers of a process, of `tokens` tokens each. */
export function synthesise(process: Process, answers: number, tokens: number, next: () => number): NativeReplayText[] {
  return Array.from({ length: answers }, (_, answer) => {
    const drafts: number[] = [];
    const nodes: number[] = [];
    const confidence: number[] = [];
    for (let position = 0; position < tokens; ++position) {
      const length = process.length?.(next) ?? chainLength;
      drafts.push(Drafter.recall, nodes.length);
      for (let depth = 1, prefix = true; depth <= length; ++depth) {
        const progress = (answer + (position + (depth - 1) / length) / tokens) / answers;
        const sure = Math.fround(process.confidence(next));
        const right: boolean = prefix && next() < process.chance(sure, depth, progress);
        nodes.push((depth - 1) | (right ? 128 : 0));
        confidence.push(sure);
        prefix = right;
      }
    }
    return {
      promptTokens,
      firstDraft: Int32Array.from({ length: tokens + 1 }, (_, position) => position),
      drafts: Int32Array.of(...drafts, Drafter.recall, nodes.length),
      nodes: Uint8Array.from(nodes),
      confidence: Float32Array.from(confidence),
    };
  });
}

const uniform = (next: () => number): number => next();
/** Sure or unsure, as drafters of remembered text mostly are. */
const divided = (next: () => number): number => (next() < 0.5 ? 0.75 + 0.25 * next() : 0.4 * next());

/** Texts as they may come, each as hard as another at some time. */
export const processes: Record<string, Process> = {
  calibrated: { confidence: divided, chance: (confidence) => confidence },
  uniform: { confidence: uniform, chance: (confidence) => confidence },
  overconfident: { confidence: divided, chance: (confidence) => 0.45 * confidence },
  underconfident: { confidence: divided, chance: (confidence) => 1 - 0.5 * (1 - confidence) },
  uninformed: { confidence: uniform, chance: () => 0.6 },
  hopeless: { confidence: uniform, chance: () => 0.01 },
  decay: { confidence: divided, chance: (confidence, depth) => confidence * 0.85 ** (depth - 1) },
  drop: { confidence: divided, chance: (confidence, _, progress) => (progress < 0.5 ? confidence : 0.1 * confidence) },
  rise: { confidence: divided, chance: (confidence, _, progress) => (progress < 0.5 ? 0.1 * confidence : confidence) },
  ramp: { confidence: divided, chance: (confidence, _, progress) => confidence * (1 - 0.9 * progress) },
  return: {
    confidence: divided,
    chance: (confidence, _, progress) => (progress > 1 / 3 && progress < 2 / 3 ? 0.1 * confidence : confidence),
  },
  flicker: {
    confidence: divided,
    chance: (confidence, _, progress) => (Math.floor(progress * 40) % 2 ? 0.1 * confidence : confidence),
  },
};
