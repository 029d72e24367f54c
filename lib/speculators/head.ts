import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { tokenizerHash } from '../models/metadata';
import type { ModelMetadata } from '../models/metadata';
import type { NativeLoadOptions } from '../native';
import { speculatorFolders } from './folders';

/** How a head's file ends that was made for a model; before it stands the hash of the model's source. */
const ending = '.head.safetensors';

/**
 * Which draft head an engine shall load.
 *
 * @param choice A path; true = the one made for the model, or else the one that ships, if there is any; false = none.
 * @param cacheFolder Where one that was made lies.
 */
export async function headOptions(
  choice: string | boolean,
  cacheFolder: string,
  metadata: ModelMetadata,
): Promise<Pick<NativeLoadOptions, 'head' | 'heads' | 'tokenizer'>> {
  const path = typeof choice === 'string' ? resolve(choice) : '';
  const heads: string[] = [];
  for (const folder of choice === true ? speculatorFolders(cacheFolder) : []) {
    const names = await readdir(folder).catch(() => []);
    if (names.some((name) => name.endsWith(ending))) heads.push(folder);
  }
  return { head: path, heads, tokenizer: path || heads.length > 0 ? tokenizerHash(metadata) : '' };
}
