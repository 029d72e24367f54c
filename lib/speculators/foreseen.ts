/** Positions of a text that count at most: learners judge no more of one. */
export const mostPositions = 32;

/** What a text takes with a head. */
export interface Replay {
  /** Of the last one the share that lies within the text. */
  rounds: number;
  tokens: number;
}

/**
 * Decodes a verified text once more on paper, round after round, as a head would have drafted it. Heads that are compared draft equally
 * many tokens, so that their rounds cost the same, whatever that is now: who needs fewer is faster.
 *
 * @param right Of each position, how many tokens of a draft made there are what came.
 */
export function replay(right: Uint8Array): Replay {
  const tokens = Math.min(right.length, mostPositions);
  let rounds = 0;
  for (let at = 0; at < tokens; at += right[at] + 1) rounds += Math.min(1, (tokens - at) / (right[at] + 1));
  return { rounds, tokens };
}
