import { sum } from '../common/stats';
import type { Answer } from '../common/answer';
import type { PassPrices } from '../common/prices';
import { window, worstRatio } from '../common/windows';

/** How a request is answered: see `learn`. */
export type Arm = 'plain' | 'static' | 'learned' | 'day0';

/** A stream's requests in order, each answered by every arm. */
export type Requests = Record<Arm, Answer>[];

/** Seconds of one arm by those of another. */
export function over<A extends string>(requests: Record<A, Answer>[], top: A, bottom: A): number {
  return sum(requests.map((request) => request[top].seconds)) / sum(requests.map((request) => request[bottom].seconds));
}

/** Requests after which learning from nothing has taken less time than plain decoding, and stays so. */
export function day0Requests(requests: Requests): number {
  let ahead = 0;
  let from = 0;
  for (const [i, { plain, day0 }] of requests.entries()) {
    ahead += plain.seconds - day0.seconds;
    if (ahead < 0) from = i + 1;
  }
  return from + 1;
}

/** Static over learned seconds in the worst few requests in a row, of whatever seconds are given. */
export function worstWindow(seconds: { static: number; learned: number }[]): number {
  return worstRatio(
    seconds.map((each) => each.learned),
    seconds.map((each) => each.static),
  );
}

/** Seconds of two arms, each at its own prices in a run. */
export function modelled(
  requests: Requests,
  prices: Record<'static' | 'learned', PassPrices>,
): { static: number; learned: number }[] {
  return requests.map((request) => ({
    static: prices.static.seconds(request.static.passes),
    learned: prices.learned.seconds(request.learned.passes),
  }));
}

/** Share of the accepted tokens by drafter. */
export function acceptedShares(answers: Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { drafter, accepted } of answers.flatMap(({ passes }) => passes))
    if (accepted > 0) counts[drafter] = (counts[drafter] ?? 0) + accepted;
  const all = sum(Object.values(counts));
  return Object.fromEntries(Object.entries(counts).map(([drafter, count]) => [drafter, count / all]));
}

/** The mean of the latest few values at each point. */
export function smooth(values: number[]): number[] {
  return values.map((_, i) => {
    const latest = values.slice(Math.max(0, i + 1 - window), i + 1);
    return sum(latest) / latest.length;
  });
}
