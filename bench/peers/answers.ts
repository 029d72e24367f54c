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

/** The same group by group: each prompt's answer by the setting that was fastest over the prompts of its group. */
export function bestOfGroups(prompts: readonly PeerPrompt[], bySetting: Map<string, PeerRun[]>): PeerRun[] {
  const chosen: PeerRun[] = [];
  for (const group of new Set(prompts.map((prompt) => prompt.group))) {
    const inside = prompts.flatMap((prompt, i) => (prompt.group === group ? [i] : []));
    const answered = [...bySetting].map(([setting, runs]): [string, PeerRun[]] => [
      setting,
      inside.filter((i) => i < runs.length).map((i) => runs[i]),
    ]);
    best(new Map(answered)).forEach((run, n) => (chosen[inside[n]] = run));
  }
  return chosen;
}

/** A prompt of each group in turn, the shortest of each first: wherever time runs out, no group is left out because its prompts are long. */
export function groupsInTurn(prompts: readonly PeerPrompt[]): PeerPrompt[] {
  const groups = new Map<string, PeerPrompt[]>();
  for (const prompt of [...prompts].sort((a, b) => a.tokens.length - b.tokens.length))
    groups.set(prompt.group, [...(groups.get(prompt.group) ?? []), prompt]);
  const most = Math.max(...[...groups.values()].map(({ length }) => length));
  return Array.from({ length: most }, (_, n) =>
    [...groups.values()].flatMap((inside) => inside.slice(n, n + 1)),
  ).flat();
}

export function speed({ tokens, seconds }: PeerRun): number {
  return tokens / seconds;
}

export function overall(runs: PeerRun[]): number {
  return sum(runs.map(({ tokens }) => tokens)) / sum(runs.map(({ seconds }) => seconds));
}
