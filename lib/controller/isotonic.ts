/**
 * Weighted isotonic regression (pool adjacent violators): the non-decreasing sequence nearest to `values`.
 *
 * @param values What was seen, in order.
 * @param weights How much each value counts; positive.
 * @returns A new array; values that already increase are returned as they are.
 */
export function isotonic(values: ArrayLike<number>, weights: ArrayLike<number>): Float64Array {
  if (rises(values)) return Float64Array.from(values);
  const mean: number[] = [];
  const weight: number[] = [];
  const length: number[] = [];
  for (let i = 0; i < values.length; ++i) {
    mean.push(values[i]);
    weight.push(weights[i]);
    length.push(1);
    while (mean.length > 1 && mean[mean.length - 2] > mean[mean.length - 1]) poolLast(mean, weight, length);
  }
  const result = new Float64Array(values.length);
  let at = 0;
  for (let block = 0; block < mean.length; ++block) {
    result.fill(mean[block], at, at + length[block]);
    at += length[block];
  }
  return result;
}

function rises(values: ArrayLike<number>): boolean {
  for (let i = 1; i < values.length; ++i) if (values[i] < values[i - 1]) return false;
  return true;
}

function poolLast(mean: number[], weight: number[], length: number[]): void {
  const value = mean.pop()!;
  const share = weight.pop()!;
  const last = mean.length - 1;
  mean[last] = (mean[last] * weight[last] + value * share) / (weight[last] + share);
  weight[last] += share;
  length[last] += length.pop()!;
}
