import { chmodSync, readdirSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { dirname, join } from 'node:path';

const nobody = 65534;

/**
 * Runs `work` while nothing can be written into a folder, nor into those below. Root may write anywhere, so it is somebody else
 * meanwhile, who has to be able to get there.
 */
export async function whileReadOnly<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const { folders, files } = entriesOf(folder);
  for (const each of folders) chmodSync(each, 0o555);
  if (process.geteuid!() === 0) {
    chmodSync(dirname(folder), 0o755);
    for (const each of files) chmodSync(each, 0o644);
  }
  try {
    return await asNobody(work);
  } finally {
    for (const each of folders) chmodSync(each, 0o755);
  }
}

/** Runs `work` as somebody to whom the rights of files apply: to root they do not. */
export async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  const isRoot = process.geteuid!() === 0;
  if (isRoot) process.seteuid!(nobody);
  try {
    return await work();
  } finally {
    if (isRoot) process.seteuid!(0);
  }
}

/** A folder with those below, and the files in them. */
function entriesOf(folder: string): { folders: string[]; files: string[] } {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = (those: Dirent[]): string[] => those.map(({ parentPath, name }) => join(parentPath, name));
  const folders = [folder, ...paths(entries.filter((entry) => entry.isDirectory()))];
  return { folders, files: paths(entries.filter((entry) => entry.isFile())) };
}
