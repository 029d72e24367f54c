import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { hasEnded, processName } from './process-name';

/**
 * The folder under which foretoken keeps everything it downloads or converts.
 *
 * `FORETOKEN_HOME` if set, else `$XDG_CACHE_HOME/foretoken`, else `~/.cache/foretoken`. A relative
 * `XDG_CACHE_HOME` is ignored, as the XDG base directory specification says.
 *
 * @param env The environment to read. Defaults to `process.env`.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.FORETOKEN_HOME) return resolve(env.FORETOKEN_HOME);
  if (env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME)) return join(env.XDG_CACHE_HOME, 'foretoken');
  return join(homedir(), '.cache', 'foretoken');
}

const TEMPORARY_NAME = /^tmp-(.+)-[0-9a-f]{8}$/;
/** No download takes that long: a folder this old was left by a container or machine that is no more. */
const ABANDONED_MS = 24 * 3600 * 1000;

/**
 * Makes a fresh folder for half-done work beside its destination, so that the last step is a rename within one
 * file system. Folders left behind by processes that have ended are removed on the way, where they can be.
 *
 * @param parent The folder to make it in; created if need be.
 * @returns The path of the new folder; the caller removes it.
 */
export async function makeTemporaryFolder(parent: string): Promise<string> {
  await mkdir(parent, { recursive: true });
  for (const name of await readdir(parent)) {
    const owner = TEMPORARY_NAME.exec(name)?.[1];
    const path = join(parent, name);
    if (owner !== undefined && (hasEnded(owner) || (await isOlderThan(path, ABANDONED_MS))))
      await rm(path, { recursive: true, force: true }).catch(() => undefined); // another user's is in nobody's way
  }
  const path = join(parent, `tmp-${processName}-${randomBytes(4).toString('hex')}`);
  await mkdir(path);
  return path;
}

async function isOlderThan(path: string, milliseconds: number): Promise<boolean> {
  const changed = await stat(path).then(
    (info) => info.mtimeMs,
    () => Infinity, // gone meanwhile
  );
  return Date.now() - changed > milliseconds;
}
