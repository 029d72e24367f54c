import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** `<where>-<pid>`, where process ids mean the same to all who share `where`: a digest, or `unknown`. */
const NAME = /^([0-9a-f]{16}|unknown)-(\d+)$/;

/** Containers on one machine, and machines that share a folder, each count process ids for themselves. */
const where = whereIdsCount();

/** This process's name among all that may share a folder. */
export const processName = `${where}-${process.pid}`;

/** Whether the process of a name is known to have ended. That of one whose ids can't be looked up here never is. */
export function hasEnded(name: string): boolean {
  const [, place, pid] = NAME.exec(name) ?? [];
  return place === where && place !== 'unknown' && !isAlive(Number(pid));
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
