import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

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

/** Whether a process of this machine with that id is alive. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const TEMPORARY_NAME = /^tmp-(\d+)-[0-9a-f]+$/;

/**
 * Makes a fresh folder for half-done work beside its destination, so that the last step is a rename within one
 * file system. Folders left behind by processes that have ended are removed on the way.
 *
 * @param parent The folder to make it in; created if need be.
 * @returns The path of the new folder; the caller removes it.
 */
export async function makeTemporaryFolder(parent: string): Promise<string> {
  await mkdir(parent, { recursive: true });
  for (const name of await readdir(parent)) {
    const match = TEMPORARY_NAME.exec(name);
    if (match && !isProcessAlive(Number(match[1]))) await rm(join(parent, name), { recursive: true, force: true });
  }
  const path = join(parent, `tmp-${process.pid}-${randomBytes(4).toString('hex')}`);
  await mkdir(path);
  return path;
}
