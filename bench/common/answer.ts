import { performance } from 'node:perf_hooks';
import type { Engine, GenerateResult } from '../../lib/index';
import type { Pass } from './prices';
import { median, sum } from './stats';

/** One answer, timed as JavaScript received it. */
export interface Answer {
  text: string;
  tokens: number[];
  seconds: number;
  /** Tokens inside `seconds`: all but those of the first chunk. */
  counted: number;
  /** Median seconds between two chunks: of one pass, where every pass brings a token. */
  gap: number;
  prefillSeconds: number;
  rounds: number;
  /** The passes after the first token, if the request asked to `explain`. */
  passes: Pass[];
}

/** Reads a stream to its end; seconds run from its first to its last chunk. */
export async function collect(stream: ReturnType<Engine['stream']>): Promise<Answer> {
  let first = 0;
  let last = 0;
  let firstTokens = 0;
  const gaps: number[] = [];
  for await (const chunk of stream) {
    const now = performance.now();
    if (first === 0) {
      first = now;
      firstTokens = chunk.tokens.length;
    } else gaps.push((now - last) / 1000);
    last = now;
  }
  const result = await stream.result;
  return {
    text: result.text,
    tokens: result.tokens,
    seconds: (last - first) / 1000,
    counted: result.tokens.length - firstTokens,
    gap: median(gaps),
    prefillSeconds: result.timings.ttft,
    rounds: result.speculation.rounds,
    passes: passesOf(result),
  };
}

/** Tokens a second. */
export function rate(answers: Answer[]): number {
  return sum(answers.map(({ counted }) => counted)) / sum(answers.map(({ seconds }) => seconds));
}

/** Tokens a pass; 1 where there was none. */
export function tau(answers: Answer[]): number {
  const rounds = sum(answers.map((answer) => answer.rounds));
  return rounds > 0 ? sum(answers.map((answer) => answer.counted)) / rounds : 1;
}

/** The first pass reads the prompt and is left out. */
function passesOf({ rounds = [], usage }: GenerateResult): Pass[] {
  let context = usage.promptTokens;
  const passes = rounds.map(({ drafter, drafts, tokens, seconds }) => {
    const accepted = drafts.filter(({ outcome }) => outcome === 'accepted').length;
    const pass = { drafter, rows: 1 + drafts.length, context, accepted, seconds };
    context += tokens.length;
    return pass;
  });
  return passes.slice(1);
}
