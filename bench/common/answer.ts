import { performance } from 'node:perf_hooks';
import type { Engine } from '../../lib/index';

/** One answer, timed as JavaScript received it. */
export interface Answer {
  text: string;
  tokens: number[];
  seconds: number;
  /** Tokens inside `seconds`: all but those of the first chunk. */
  counted: number;
  prefillSeconds: number;
  rounds: number;
}

/** Reads a stream to its end; seconds run from its first to its last chunk. */
export async function collect(stream: ReturnType<Engine['stream']>): Promise<Answer> {
  let first = 0;
  let last = 0;
  let firstTokens = 0;
  for await (const chunk of stream) {
    last = performance.now();
    if (first === 0) {
      first = last;
      firstTokens = chunk.tokens.length;
    }
  }
  const result = await stream.result;
  return {
    text: result.text,
    tokens: result.tokens,
    seconds: (last - first) / 1000,
    counted: result.tokens.length - firstTokens,
    prefillSeconds: result.timings.ttft,
    rounds: result.speculation.rounds,
  };
}
