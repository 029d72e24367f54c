import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { tokenizerHash } from '../models/metadata';
import type { ModelMetadata } from '../models/metadata';
import type { NativeLoadOptions } from '../native';
import { shippedSpeculators } from './memory';

/** How a head's file ends that was made for a model; before it stands the hash of the model's source. */
const ending = '.head.safetensors';

/**
 * Which draft head an engine shall load.
 *
 * @param choice A path; true = the shipped one if there is one; false = none.
 */
export async function headOptions(
  choice: string | boolean,
  metadata: ModelMetadata,
): Promise<Pick<NativeLoadOptions, 'head' | 'heads' | 'tokenizer'>> {
  const path = typeof choice === 'string' ? resolve(choice) : '';
  const folder = shippedSpeculators();
  const names = choice === true ? await readdir(folder).catch(() => []) : [];
  const shipped = names.some((name) => name.endsWith(ending)) ? folder : '';
  return { head: path, heads: shipped, tokenizer: path || shipped ? tokenizerHash(metadata) : '' };
}
