import { join } from 'node:path';
import { packageRoot } from '../binding';

/** The folder of what ships for models. */
export function shippedSpeculators(): string {
  return join(packageRoot(), 'speculators');
}

/** The folder, in the cache folder, of what tenants taught and of what `foretoken train static` made. */
export function ownSpeculators(cacheFolder: string): string {
  return join(cacheFolder, 'speculators');
}

/** Where the static memory and the head of a model are looked for, in this order. */
export function speculatorFolders(cacheFolder: string): string[] {
  return [ownSpeculators(cacheFolder), shippedSpeculators()];
}
