/** The middle value; the mean of the two middle ones for an even count. */
export function median(values: number[]): number {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

export function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}

/** A seeded generator (mulberry32) for workloads that must be the same in every run: uniform in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Random token ids of a vocabulary: `count` of them, the same for the same generator. */
export function randomTokens(next: () => number, vocabulary: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, () => Math.floor(next() * vocabulary));
}

/**
 * A 95 % bootstrap interval of the ratio of sums Σ top / Σ bottom over pairs, by resampling pairs.
 */
export function bootstrapRatio(top: number[], bottom: number[], rounds = 1000): [number, number] {
  const next = random(7);
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    let a = 0;
    let b = 0;
    for (const pick of top.map(() => Math.floor(next() * top.length))) {
      a += top[pick];
      b += bottom[pick];
    }
    ratios.push(a / b);
  }
  ratios.sort((x, y) => x - y);
  return [ratios[Math.floor(rounds * 0.025)], ratios[Math.floor(rounds * 0.975)]];
}

/**
 * A model of 135 M parameters loops: an answer is degenerate when some 16-gram of tokens occurs three times or more.
 */
export function isDegenerate(tokens: ArrayLike<number>): boolean {
  const seen = new Map<string, number>();
  for (let i = 0; i + 16 <= tokens.length; i++) {
    const key = Array.prototype.slice.call(tokens, i, i + 16).join(',');
    const count = (seen.get(key) ?? 0) + 1;
    if (count >= 3) return true;
    seen.set(key, count);
  }
  return false;
}

/** Positions at which two texts differ; what one has beyond the other's end counts too. */
export function differences(expected: number[], actual: number[]): number {
  const longer = Math.max(expected.length, actual.length);
  return sum(Array.from({ length: longer }, (_, i) => Number(expected[i] !== actual[i])));
}
