import { open, readdir, readFile, rename, rm, rmdir, stat, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeFailed } from '../error';
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
 * to have ended, or that nobody has written in a minute of waiting for it, is removed: of several who find it stale only one does so.
 *
 * @param path Where the lock lives; removed afterwards.
 * @param work What to run.
 * @param signal Ends the wait (not the work) early.
 * @returns What `work` returns.
 * @throws ForetokenError `WRITE_FAILED` where no lock can be made or looked into, nor a stale one removed, and what `work` throws.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const isSilent = watch();
  let mine: string | undefined;
  while ((mine = await acquire(path, isSilent)) === undefined) await sleep(POLL_MS, undefined, { signal });
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

/** The file by which the lock is ours from now on; undefined: it is somebody else's. */
async function acquire(path: string, isSilent: Watch): Promise<string | undefined> {
  let folder: string | undefined;
  try {
    folder = await makeTemporaryFolder(dirname(path));
    const file = basename(folder);
    await writeFile(join(folder, file), processName);
    await removeStale(path, isSilent);
    await rename(folder, path);
    return join(path, file);
  } catch (error) {
    if (folder) await rm(folder, { recursive: true, force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return undefined;
    throw writeFailed(path, error);
  }
}

async function removeStale(path: string, isSilent: Watch): Promise<void> {
  const held = await fileOf(path);
  if (held !== undefined && (await isStale(held, isSilent))) await rm(held, { force: true });
}

/** The file by which a lock is held. Throws where we may not look for it: we could never find it stale. */
async function fileOf(path: string): Promise<string | undefined> {
  const [name] = await readdir(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') throw error;
    return []; // gone meanwhile
  });
  return name && join(path, name);
}

async function isStale(file: string, isSilent: Watch): Promise<boolean> {
  try {
    return (await isSilent(file)) || hasEnded(await readFile(file, 'utf8'));
  } catch {
    return false; // gone meanwhile
  }
}

/** Whether a file has stayed the one it was, unwritten, for so long that nobody can be there to write it. Throws where it is gone. */
type Watch = (file: string) => Promise<boolean>;

/** It counts by our own clock, which nobody sets: that of files may leap, and others' may be set otherwise. */
function watch(): Watch {
  let last = '';
  let since = 0;
  return async (file) => {
    const seen = `${file} ${(await stat(file)).mtimeMs}`;
    const now = performance.now();
    if (seen !== last) [last, since] = [seen, now];
    return now - since > STALE_MS;
  };
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
