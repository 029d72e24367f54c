/**
 * Weighted isotonic regression (pool adjacent violators): the non-decreasing sequence nearest to `values`.
 *
 * @param values What was seen, in order.
 * @param weights How much each value counts; positive.
 * @returns A new array; values that already increase are returned as they are.
 */
export function isotonic(values: ArrayLike<number>, weights: ArrayLike<number>): Float64Array {
  if (rises(values)) return new Float64Array(values);
  // Blocks of neighbours so far, each above the one before.
  const mean = new Float64Array(values.length);
  const weight = new Float64Array(values.length);
  const length = new Uint32Array(values.length);
  let last = -1;
  for (let i = 0; i < values.length; ++i) {
    last += 1;
    mean[last] = values[i];
    weight[last] = weights[i];
    length[last] = 1;
    for (; last > 0 && mean[last - 1] > mean[last]; --last) pool(mean, weight, length, last);
  }
  const result = new Float64Array(values.length);
  for (let block = 0, at = 0; block <= last; at += length[block], ++block)
    result.fill(mean[block], at, at + length[block]);
  return result;
}

function rises(values: ArrayLike<number>): boolean {
  for (let i = 1; i < values.length; ++i) if (values[i] < values[i - 1]) return false;
  return true;
}

/** Makes one block of the one at `at` and the one before it. */
function pool(mean: Float64Array, weight: Float64Array, length: Uint32Array, at: number): void {
  const both = weight[at - 1] + weight[at];
  mean[at - 1] = (mean[at - 1] * weight[at - 1] + mean[at] * weight[at]) / both;
  weight[at - 1] = both;
  length[at - 1] += length[at];
}
