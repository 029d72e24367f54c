import { ForetokenError } from '../error';
import type { NativeTensor } from '../native';
import { OptionReader, invalidOption } from './validate';

/** A tensor that a program holds in memory. */
export interface WeightTensor {
  /** As in the model's own file, or as Hugging Face or GGUF name it for this architecture. */
  name: string;
  /** Type of the numbers in `data`. */
  dtype: 'F32' | 'F16' | 'BF16';
  /** Outermost first: `[rows, columns]` of a matrix. */
  shape: readonly number[];
  /** The numbers, row by row; copied at once, so that the array can be used again. F16 and BF16 may come as `Uint16Array`. */
  data: ArrayBufferView;
}

/** Where new weights come from: a GGUF file, a `.safetensors` file, a folder of them, or tensors in memory. */
export type WeightSource = string | readonly WeightTensor[];

/** Options of {@link Engine.updateWeights}. */
export interface UpdateWeightsOptions {
  /**
   * What becomes of requests that have begun. `'finish'`: they end on the weights they began with, which stay in memory that long.
   * `'restart'`: prompt and text so far are computed again with the new weights, which then go on from there. Defaults to `'finish'`.
   */
  inFlight?: 'finish' | 'restart';
}

/** What an update of weights did. */
export interface WeightUpdate {
  /** Tensors that were replaced. */
  tensors: number;
  /** Their bytes as they came. */
  bytes: number;
  /** Updates so far; the weights that were loaded are version 0. */
  version: number;
  /** From the call to the swap. */
  seconds: number;
}

/** Checks the arguments of an update. Throws INVALID_OPTION. */
export function checkUpdate(
  source: WeightSource,
  options: UpdateWeightsOptions | undefined,
): { source: string | NativeTensor[]; inFlight: 'finish' | 'restart' } {
  const read = new OptionReader(options, 'options of updateWeights');
  const inFlight = read.oneOf('inFlight', 'finish', ['finish', 'restart'] as const);
  read.finish();
  if (typeof source === 'string' && source !== '') return { source, inFlight };
  if (!Array.isArray(source)) throw invalidOption('source', 'a path or an array of tensors', source);
  return { source: Array.from(source, checkTensor), inFlight };
}

function checkTensor(tensor: unknown, index: number): NativeTensor {
  const at = `source[${index}]`;
  const read = new OptionReader(tensor, at, `${at}.`);
  const name = read.string('name', '');
  const dtype = read.string('dtype', '');
  const shape = read.raw('shape');
  const data = read.raw('data');
  read.finish();
  if (name === '') throw new ForetokenError('INVALID_OPTION', `${at} has no name`);
  if (!Array.isArray(shape) || !shape.every(Number.isSafeInteger)) {
    throw invalidOption(`${at}.shape`, `an array of whole numbers ('${name}')`, shape);
  }
  if (!ArrayBuffer.isView(data)) throw invalidOption(`${at}.data`, `a typed array ('${name}')`, data);
  return { name, dtype, shape: shape as number[], data: bytesOf(data, `${at}.data ('${name}')`) };
}

function bytesOf(data: ArrayBufferView, what: string): Uint8Array {
  try {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  } catch (cause) {
    const message = `${what} has no bytes: ${(cause as Error).message}. Give it before its buffer is transferred to a worker.`;
    throw new ForetokenError('INVALID_OPTION', message, { cause });
  }
}
