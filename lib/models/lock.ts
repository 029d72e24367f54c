import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isProcessAlive, makeTemporaryFolder } from './cache';

const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
const POLL_MS = 100;

/**
 * Runs `work` while no other process (nor another call in this one) holds the lock at `path`.
 *
 * The lock is a folder, because moving one to where there is none is atomic everywhere. It holds its owner's process id
 * and is touched every few seconds; one whose owner has died, or that nobody has touched for a minute, is broken.
 *
 * @param path Where the lock lives; removed afterwards.
 * @param work What to run.
 * @param signal Ends the wait (not the work) early.
 * @returns What `work` returns.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  while (!(await tryAcquire(path))) {
    if (await isStale(path)) await removeLock(path);
    else await sleep(POLL_MS, undefined, { signal });
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await removeLock(path);
  }
}

/** The folder appears with its owner's name in it: nobody who dies on the way leaves a lock without one. */
async function tryAcquire(path: string): Promise<boolean> {
  const mine = await makeTemporaryFolder(dirname(path));
  try {
    await writeFile(join(mine, 'owner'), String(process.pid));
    await rename(mine, path);
    return true;
  } catch (error) {
    await rm(mine, { recursive: true, force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    const age = Date.now() - (await stat(path)).mtimeMs;
    if (age > STALE_MS) return true;
    const owner = Number(await readFile(join(path, 'owner'), 'utf8'));
    return Number.isInteger(owner) && owner > 0 && !isProcessAlive(owner);
  } catch {
    return false; // Gone meanwhile.
  }
}

/** Moves a lock away before removing it: it goes in one step, and of several who found it stale only one does so. */
async function removeLock(path: string): Promise<void> {
  const grave = `${path}.stale-${process.pid}-${Date.now()}`;
  try {
    await rename(path, grave);
  } catch {
    return;
  }
  await rm(grave, { recursive: true, force: true });
}
