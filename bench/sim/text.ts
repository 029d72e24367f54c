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
}

const chainLength = 8;
const promptTokens = 200;

/** So many answers of a process, of `tokens` tokens each. */
export function synthesise(process: Process, answers: number, tokens: number, next: () => number): NativeReplayText[] {
  return Array.from({ length: answers }, (_, answer) => {
    const nodes = new Uint8Array(tokens * chainLength);
    const confidence = new Float32Array(nodes.length);
    for (let i = 0; i < nodes.length; ++i) {
      const depth = (i % chainLength) + 1;
      const progress = (answer + i / nodes.length) / answers;
      confidence[i] = process.confidence(next);
      const prefix = depth === 1 || nodes[i - 1] >> 7 === 1;
      const right = prefix && next() < process.chance(confidence[i], depth, progress);
      nodes[i] = (depth - 1) | (right ? 128 : 0);
    }
    return {
      promptTokens,
      firstDraft: Int32Array.from({ length: tokens + 1 }, (_, p) => p),
      drafts: Int32Array.from({ length: 2 * tokens + 2 }, (_, i) => (i % 2 ? (i >> 1) * chainLength : Drafter.recall)),
      nodes,
      confidence,
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
