/** Blocks of neighbours so far, each above the one before: work space that grows with the longest sequence. */
let mean = new Float64Array(64);
let weight = new Float64Array(64);
let length = new Uint32Array(64);

/**
 * Weighted isotonic regression (pool adjacent violators): the non-decreasing sequence nearest to `values`.
 *
 * @param values What was seen, in order.
 * @param weights How much each value counts; positive.
 * @param result Where it goes; may be `values`. Defaults to a new array.
 * @returns `result`; values that already increase are as they were.
 */
export function isotonic(
  values: ArrayLike<number>,
  weights: ArrayLike<number>,
  result: Float64Array = new Float64Array(values.length),
): Float64Array {
  if (values.length > mean.length) makeRoom(values.length);
  let last = -1;
  for (let i = 0; i < values.length; ++i) {
    last += 1;
    mean[last] = values[i];
    weight[last] = weights[i];
    length[last] = 1;
    for (; last > 0 && mean[last - 1] > mean[last]; --last) pool(last);
  }
  for (let block = 0, at = 0; block <= last; ++block)
    for (let end = at + length[block]; at < end; ++at) result[at] = mean[block];
  return result;
}

/** Makes one block of the one at `at` and the one before it. */
function pool(at: number): void {
  const both = weight[at - 1] + weight[at];
  mean[at - 1] = (mean[at - 1] * weight[at - 1] + mean[at] * weight[at]) / both;
  weight[at - 1] = both;
  length[at - 1] += length[at];
}

function makeRoom(values: number): void {
  mean = new Float64Array(values);
  weight = new Float64Array(values);
  length = new Uint32Array(values);
}
