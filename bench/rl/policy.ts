import { loadBinding } from '../../lib/binding';
import type { WeightTensor } from '../../lib/index';
import { random } from '../common/stats';

const matrices = /(attn_(q|k|v|output)|ffn_(gate|up|down)|[qkvo]_proj|(gate|up|down)_proj)\.weight$/;
const rank = 4;

interface PolicyTensor {
  name: string;
  shape: number[];
  values: Float32Array;
  /** Standard deviation of the weights it began with. */
  spread: number;
}

/**
 * A policy whose weights walk at random, as if it were trained: every step adds to each matrix of the layers a product of two
 * thin Gaussian matrices, as large as adapters of a small rank make it. Zeros stay: they fill heads up.
 */
export class Policy {
  readonly #tensors: PolicyTensor[];
  readonly #uniform = random(7);

  /** @param path The weights to begin with. */
  constructor(path: string) {
    const binding = loadBinding();
    this.#tensors = binding
      .readTensors(path)
      .filter(({ name }) => matrices.test(name))
      .map(({ name, shape }) => {
        const values = binding.readTensor(path, name);
        return { name, shape, values, spread: deviation(values) };
      });
  }

  /** Moves every matrix by `size` of its standard deviation. */
  step(size: number): void {
    for (const { shape, values, spread } of this.#tensors) {
      const [rows, cols] = shape;
      const left = this.#gaussian(rows * rank);
      const right = this.#gaussian(rank * cols);
      const scale = (size * spread) / Math.sqrt(rank);
      for (let row = 0; row < rows; ++row) {
        for (let k = 0; k < rank; ++k) {
          const factor = scale * left[row * rank + k];
          for (let col = 0; col < cols; ++col)
            if (values[row * cols + col] !== 0) values[row * cols + col] += factor * right[k * cols + col];
        }
      }
    }
  }

  /** What moved, for `Engine.updateWeights`. */
  tensors(): WeightTensor[] {
    return this.#tensors.map(({ name, shape, values }) => ({ name, dtype: 'F32', shape, data: values }));
  }

  #gaussian(count: number): Float32Array {
    const draw = (): number => Math.sqrt(-2 * Math.log(1 - this.#uniform())) * Math.cos(2 * Math.PI * this.#uniform());
    return Float32Array.from({ length: count }, draw);
  }
}

/** Of the values that are not zero. */
function deviation(values: Float32Array): number {
  let count = 0;
  let total = 0;
  let squares = 0;
  for (const value of values) {
    count += value === 0 ? 0 : 1;
    total += value;
    squares += value * value;
  }
  return Math.sqrt(squares / count - (total / count) ** 2);
}
