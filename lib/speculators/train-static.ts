import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Engine } from '../engine/engine';
import { ForetokenError } from '../error';

/** How {@link trainStatic} works; see the flags of `foretoken train static`. */
export interface TrainStaticOptions {
  /** Most tokens of an answer. Defaults to `144`. */
  answerTokens?: number;
  /** Stops after so many tokens of answers. Defaults to `200000`. */
  memoryTokens?: number;
  /** Called after each answer. */
  onProgress?: (done: { prompts: number; tokens: number; loops: number }) => void;
  signal?: AbortSignal;
}

/** What became of it. */
export interface StaticReport {
  path: string;
  prompts: number;
  /** Tokens in memory, borders between answers included. */
  tokens: number;
  /** Answers that ran in circles and were cut short. */
  loops: number;
}

const tenant = 'static';
const loopGram = 16;

/**
 * Fills a static memory by self-distillation: the target answers the prompts itself, greedily and batched, and what it wrote is kept
 * with the keys of its hidden states. No text of a prompt is kept.
 *
 * @param engine Loaded with `memory: false` and a large `indexBytes`.
 * @param out The folder that the file goes to, named after the model.
 * @param parallel Answers asked for at once; of them the engine's `maxSequences` run together.
 * @throws ForetokenError ABORTED, WRITE_FAILED, NOTHING_LEARNED
 */
export async function trainStatic(
  engine: Engine,
  prompts: readonly string[],
  out: string,
  parallel: number,
  options: TrainStaticOptions = {},
): Promise<StaticReport> {
  const { answerTokens = 144, memoryTokens = 200_000, onProgress, signal } = options;
  const done = { prompts: 0, tokens: 0, loops: 0 };
  const left = prompts[Symbol.iterator]();
  const work = async (): Promise<void> => {
    for (const prompt of left) {
      if (done.tokens >= memoryTokens) return;
      const { tokens, circles } = await answer(engine, prompt, answerTokens, signal);
      done.prompts += 1;
      done.tokens += tokens;
      if (circles) done.loops += 1;
      onProgress?.({ ...done });
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  const path = join(out, `${engine.model.sourceHash}.memory.safetensors`);
  const tokens = await engine.exportMemory(path, tenant);
  if (tokens > 0) return { path, prompts: done.prompts, tokens, loops: done.loops };
  await rm(path);
  throw new ForetokenError('NOTHING_LEARNED', 'No prompt got an answer worth keeping.');
}

/** Lets the engine answer and remember; an answer that runs in circles is cut there. */
async function answer(
  engine: Engine,
  prompt: string,
  maxTokens: number,
  signal: AbortSignal | undefined,
): Promise<{ tokens: number; circles: boolean }> {
  const messages = [{ role: 'user', content: prompt }];
  const options = { maxTokens, tenant, learn: 'answer', signal } as const;
  const stream = engine.model.chat ? engine.chatStream(messages, options) : engine.stream(prompt, options);
  const tokens: number[] = [];
  for await (const chunk of stream) {
    tokens.push(...chunk.tokens);
    if (repeats(tokens)) return { tokens: tokens.length, circles: true };
  }
  return { tokens: tokens.length, circles: false };
}

/** Whether the last 16 tokens stood there twice before. */
function repeats(tokens: readonly number[]): boolean {
  const end = tokens.length - loopGram;
  let seen = 0;
  for (let at = 0; at < end; ++at) {
    let same = 0;
    while (same < loopGram && tokens[at + same] === tokens[end + same]) ++same;
    if (same === loopGram) ++seen;
  }
  return seen >= 2;
}
