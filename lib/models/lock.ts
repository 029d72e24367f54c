import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeTemporaryFolder } from './cache';
import { hasEnded, processName } from './process-name';

const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
const POLL_MS = 100;

/**
 * Runs `work` while no other process (nor another call in this one) holds the lock at `path`, which containers and machines may share.
 *
 * The lock is a folder, because moving one to where there is none, or an empty one, is atomic everywhere. It is held while it has a file
 * in it, which is nobody else's by name, holds its owner's name and is written again every few seconds. The file of an owner who is known
 * to have died, or that nobody has written for a minute, is removed: of several who find it stale only one does so.
 *
 * @param path Where the lock lives; removed afterwards.
 * @param work What to run.
 * @param signal Ends the wait (not the work) early.
 * @returns What `work` returns.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  let mine: string | undefined;
  while ((mine = await acquire(path)) === undefined) await sleep(POLL_MS, undefined, { signal });
  const file = mine;
  const heartbeat = setInterval(() => void touch(file), HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await unlink(file).catch(() => undefined); // somebody may have found it stale
    await rmdir(path).catch(() => undefined); // it may be another's by now
  }
}

/** The file by which the lock is ours from now on; undefined: it is somebody else's. A file that is found stale is removed on the way. */
async function acquire(path: string): Promise<string | undefined> {
  const folder = await makeTemporaryFolder(dirname(path));
  const file = basename(folder);
  try {
    await writeFile(join(folder, file), processName);
    const now = (await stat(join(folder, file))).mtimeMs; // by the clock of whoever keeps the files, as all such times
    const held = await fileOf(path);
    if (held !== undefined && (await isStale(held, now))) await unlink(held).catch(() => undefined);
    await rename(folder, path);
    return join(path, file);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return undefined;
    throw error;
  }
}

/** The file by which a lock is held. */
async function fileOf(path: string): Promise<string | undefined> {
  const [name] = await readdir(path).catch(() => []);
  return name && join(path, name);
}

async function isStale(file: string, now: number): Promise<boolean> {
  try {
    return now - (await stat(file)).mtimeMs > STALE_MS || hasEnded(await readFile(file, 'utf8'));
  } catch {
    return false; // gone meanwhile
  }
}

/** Not where it is gone: then another holds the lock. */
async function touch(file: string): Promise<void> {
  try {
    const handle = await open(file, 'r+');
    await handle.writeFile(processName).finally(() => handle.close());
  } catch {
    // the next one may do better
  }
}
