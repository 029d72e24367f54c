import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isProcessAlive } from './cache';

const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
const POLL_MS = 100;

/**
 * Runs `work` while no other process (nor another call in this one) holds the lock at `path`.
 *
 * The lock is a folder, because making one is atomic everywhere. It holds its owner's process id and is touched every
 * few seconds; one whose owner has died, or that nobody has touched for a minute, is broken.
 *
 * @param path Where the lock lives; removed afterwards.
 * @param work What to run.
 * @param signal Ends the wait (not the work) early.
 * @returns What `work` returns.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  while (!(await tryAcquire(path))) {
    if (await isStale(path)) await breakLock(path);
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
    await rm(path, { recursive: true, force: true });
  }
}

async function tryAcquire(path: string): Promise<boolean> {
  try {
    await mkdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  await writeFile(join(path, 'owner'), String(process.pid));
  return true;
}

async function isStale(path: string): Promise<boolean> {
  try {
    const age = Date.now() - (await stat(path)).mtimeMs;
    if (age > STALE_MS) return true;
    const owner = Number(await readFile(join(path, 'owner'), 'utf8'));
    return Number.isInteger(owner) && owner > 0 && !isProcessAlive(owner);
  } catch {
    return false; // Gone meanwhile, or its owner has not written its name yet.
  }
}

/** Moves a stale lock away before removing it, so that of several who found it stale only one does so. */
async function breakLock(path: string): Promise<void> {
  const grave = `${path}.stale-${process.pid}-${Date.now()}`;
  try {
    await rename(path, grave);
  } catch {
    return;
  }
  await rm(grave, { recursive: true, force: true });
}
