import type { Engine, RequestOptions } from '../../lib/index';
import { sum } from '../common/stats';
import type { PeerPrompt, PeerRun } from './peer';

/** Answers that end earlier say nothing about speed. */
const fewTokens = 16;

/** One of our answers, measured as those of peers are. */
export async function answer(engine: Engine, prompt: PeerPrompt, how: RequestOptions = {}): Promise<PeerRun> {
  const { timings } = await engine.generate(prompt.tokens, { maxTokens: prompt.maxTokens, temperature: 0, ...how });
  const { decodeSeconds, tokensPerSecond, ttft } = timings;
  return {
    tokens: Math.round(tokensPerSecond * decodeSeconds),
    seconds: decodeSeconds,
    prefillTokS: prompt.tokens.length / ttft,
  };
}

/** Of each pair of answers that are long enough, ours over theirs. */
export function ratios(ours: PeerRun[], theirs: PeerRun[], of: (run: PeerRun) => number): number[] {
  return theirs
    .map((their, i) => [ours[i], their] as const)
    .filter((pair) => pair.every(({ tokens }) => tokens >= fewTokens))
    .map(([our, their]) => of(our) / of(their));
}

/** The answers of the setting with the highest speed over all prompts. */
export function best(bySetting: Map<string, PeerRun[]>): PeerRun[] {
  const most = Math.max(...[...bySetting.values()].map((runs) => runs.length));
  const complete = [...bySetting.values()].filter((runs) => runs.length === most);
  return complete.sort((a, b) => overall(b) - overall(a))[0];
}

export function speed({ tokens, seconds }: PeerRun): number {
  return tokens / seconds;
}

export function overall(runs: PeerRun[]): number {
  return sum(runs.map(({ tokens }) => tokens)) / sum(runs.map(({ seconds }) => seconds));
}
