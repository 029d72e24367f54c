/** What a head would have drafted along a verified text, had a round begun at each of its positions. */
export interface Foreseen {
  /** Tokens that it would have drafted there. */
  drafted: Uint8Array;
  /** How many of them, from the first on, are what came. */
  accepted: Uint8Array;
}

/** Seconds of a round that drafts so many tokens, at present prices; 0 = plain decoding. Never falling. */
export type RoundPrice = (drafted: number) => number;

/** Positions of a text that are looked at together. */
export const windowPositions = 16;

/** What a text would have taken. */
export interface Replay {
  /** Of the rounds that begin in each whole window of the text. */
  seconds: Float64Array;
  /** Rounds that draft, and their tokens. */
  rounds: number;
  tokens: number;
}

/** Decodes a verified text once more on paper, round after round, as a head would have drafted it. */
export function replay({ drafted, accepted }: Foreseen, price: RoundPrice): Replay {
  const seconds = new Float64Array(Math.floor(drafted.length / windowPositions));
  let rounds = 0;
  let tokens = 0;
  for (let at = 0; at < seconds.length * windowPositions; at += accepted[at] + 1) {
    seconds[Math.floor(at / windowPositions)] += price(drafted[at]);
    if (drafted[at] === 0) continue;
    rounds += 1;
    tokens += accepted[at] + 1;
  }
  return { seconds, rounds, tokens };
}
