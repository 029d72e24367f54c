import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** `<where>-<id>`, where ids mean the same to all who share `where`: a digest, or `unknown`. */
const NAME = /^([0-9a-f]{16}|unknown)-(\d+)$/;

/** Containers on one machine, and machines that share a folder, each count process ids for themselves. */
const where = whereIdsCount();

/** This process's name among all that may share a folder; in a worker its thread's, for that may end long before the process. */
export const processName = `${where}-${ownId()}`;

/** Whether the process, or the worker, of a name is known to have ended. That of one whose ids can't be looked up here never is. */
export function hasEnded(name: string): boolean {
  const [, place, id] = NAME.exec(name) ?? [];
  return place === where && place !== 'unknown' && !isAlive(Number(id));
}

/** Linux counts threads and processes together, a process by its main thread: a thread's id is looked up as a process's. */
function ownId(): number {
  try {
    const [pid, , thread] = readlinkSync('/proc/thread-self').split('/').map(Number);
    // A /proc of other ids than ours would name somebody else.
    if (pid === process.pid && isAlive(thread)) return thread;
  } catch {
    // there are no ids of threads here
  }
  return process.pid;
}

function whereIdsCount(): string {
  const facts = [hostname()];
  try {
    // Elsewhere a machine counts them once.
    if (process.platform === 'linux')
      facts.push(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'), readlinkSync('/proc/self/ns/pid'));
  } catch {
    return 'unknown';
  }
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 16);
}

function isAlive(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
