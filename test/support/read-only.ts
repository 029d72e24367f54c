import { chmodSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

const nobody = 65534;

/**
 * Runs `work` while nothing can be written into a folder, nor into those below. Root may write anywhere, so it is somebody else
 * meanwhile, who has to be able to get there.
 */
export async function whileReadOnly<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const folders = [folder, ...foldersIn(folder)];
  for (const each of folders) chmodSync(each, 0o555);
  if (process.geteuid!() === 0) chmodSync(dirname(folder), 0o755);
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

function foldersIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}
