import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Engine } from '../engine/engine';
import { ForetokenError } from '../error';

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
 * @param out The folder that the file goes to, named after the model.
 * @throws ForetokenError ABORTED, WRITE_FAILED, NOTHING_LEARNED
 */
export async function answerPrompts(
  engine: Engine,
  prompts: readonly string[],
  out: string,
  options: AnswerOptions = {},
): Promise<WrittenAnswers> {
  const { parallel = 16, answerTokens = 144, memoryTokens = 200_000, onAnswer, signal } = options;
  const answers: (Answer | undefined)[] = [];
  const left = prompts.entries();
  let written = 0;
  const work = async (): Promise<void> => {
    for (const [index, prompt] of left) {
      if (written >= memoryTokens) return;
      answers[index] = await answer(engine, prompt, answerTokens, signal);
      onAnswer?.((written += answers[index].tokens.length));
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  const path = join(out, `${engine.model.sourceHash}.memory.safetensors`);
  const tokens = await engine.exportMemory(path, tenant);
  if (tokens === 0) {
    await rm(path);
    throw new ForetokenError('NOTHING_LEARNED', 'No prompt got an answer worth keeping.');
  }
  const whole = answers.filter((entry) => entry !== undefined);
  const texts = whole.map((entry) => ({ tokens: [...entry.prompt, ...entry.tokens], answer: entry.prompt.length }));
  return { path, tokens, loops: whole.filter(({ circles }) => circles).length, texts };
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
