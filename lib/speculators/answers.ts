import { rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Engine } from '../engine/engine';
import { ForetokenError, writing } from '../error';
import { makeTemporaryFolder } from '../models/cache';
import { memoryPath } from './memory';
import { selfQuestions } from './questions';

/** How {@link answerPrompts} works. */
export interface AnswerOptions {
  /** Answers asked for at once; of them the engine's `maxSequences` run together. Defaults to `16`. */
  parallel?: number;
  /** Most tokens of an answer. Defaults to `144`. */
  answerTokens?: number;
  /** Stops after so many tokens of answers. Defaults to `200000`. */
  memoryTokens?: number;
  /** Called after each answer with the tokens so far. */
  onAnswer?: (tokens: number) => void;
  signal?: AbortSignal;
}

/** What the target wrote. */
export interface WrittenAnswers {
  /** The file of the memory. */
  path: string;
  /** Tokens in memory, borders between answers included. */
  tokens: number;
  /** Answers that ran in circles and were cut short. */
  loops: number;
  /** Prompts that were left out, because they leave no room for an answer in the model's context. */
  tooLong: number;
  /** Every prompt as the target saw it, with its answer; in the order of the prompts. */
  texts: { tokens: number[]; answer: number }[];
}

const tenant = 'static';
const loopGram = 16;

/**
 * Fills a static memory by self-distillation: the target answers the prompts itself, greedily and batched, and what it wrote is kept
 * with the keys of its hidden states. No text of a prompt is kept there.
 *
 * @param engine Loaded with `memory: false` and a large `indexBytes`.
 * @param prompts Undefined: those that the target asks itself.
 * @param out The folder that the file goes to, named after the model.
 * @throws ForetokenError ABORTED, WRITE_FAILED, NOTHING_LEARNED, NO_PROMPTS
 */
export async function answerPrompts(
  engine: Engine,
  prompts: readonly string[] | undefined,
  out: string,
  options: AnswerOptions = {},
): Promise<WrittenAnswers> {
  const { parallel = 16, answerTokens = 144, memoryTokens = 200_000, onAnswer, signal } = options;
  const answers: (Answer | undefined)[] = [];
  const ask = prompts === undefined ? await selfQuestions(engine) : (index: number) => prompts[index];
  let next = 0;
  let written = 0;
  let tooLong = 0;
  const work = async (): Promise<void> => {
    while (written < memoryTokens && next < (prompts?.length ?? Infinity)) {
      const index = next++;
      const said = await answer(engine, await ask(index, signal), answerTokens, signal).catch(ifTooLong);
      if (said) answers[index] = said;
      else tooLong += 1;
      written += Math.max(1, said?.tokens.length ?? 0); // 1: a model that says nothing comes to an end, too
      onAnswer?.(written);
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  const path = memoryPath(out, engine.model.sourceHash);
  const tokens = await writeMemory(engine, path, out);
  const whole = answers.filter((entry) => entry !== undefined);
  const texts = whole.map((entry) => ({ tokens: [...entry.prompt, ...entry.tokens], answer: entry.prompt.length }));
  return { path, tokens, loops: whole.filter(({ circles }) => circles).length, tooLong, texts };
}

/** A memory that was there before stays where nothing was learned. How many tokens it holds. */
async function writeMemory(engine: Engine, path: string, out: string): Promise<number> {
  const folder = await writing(out, makeTemporaryFolder(out));
  try {
    const written = join(folder, basename(path));
    const tokens = await engine.exportMemory(written, tenant);
    if (tokens === 0) throw new ForetokenError('NOTHING_LEARNED', 'No prompt got an answer worth keeping.');
    await writing(path, rename(written, path));
    return tokens;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Answer {
  prompt: readonly number[];
  tokens: number[];
  circles: boolean;
}

/** Lets the engine answer and remember; an answer that runs in circles is cut there. */
async function answer(
  engine: Engine,
  text: string,
  maxTokens: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const messages = [{ role: 'user', content: text }];
  const { chat } = engine.model;
  const prompt = chat ? await engine.tokenizeChat(messages) : engine.tokenize(text, { addBos: true });
  const options = { maxTokens, tenant, learn: 'answer', signal } as const;
  const stream = chat ? engine.chatStream(messages, options) : engine.stream(text, options);
  const tokens: number[] = [];
  for await (const chunk of stream) {
    tokens.push(...chunk.tokens);
    if (repeats(tokens)) return { prompt, tokens, circles: true };
  }
  return { prompt, tokens, circles: false };
}

/** Passes over a prompt that has no room for an answer behind it. */
function ifTooLong(error: unknown): undefined {
  if ((error as ForetokenError).code !== 'CONTEXT_EXCEEDED') throw error;
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
