import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Writes a file whole or not at all: beside its place first, onto the disk, then in one step into its place. The folder is made.
 *
 * @throws What the file system says; what was there before stays, but where the last step can't be brought onto the disk.
 */
export async function replaceFile(path: string, parts: readonly (string | Uint8Array)[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await replaceInFolder(path, parts);
}

/**
 * The same in a folder that is there.
 *
 * @throws As {@link replaceFile} does.
 */
export async function replaceInFolder(path: string, parts: readonly (string | Uint8Array)[]): Promise<void> {
  await replaceBy(path, (temporary) => writeFile(temporary, parts));
}

/**
 * Copies a file as {@link replaceInFolder} writes one.
 *
 * @throws As {@link replaceFile} does.
 */
export async function replaceByCopy(from: string, to: string): Promise<void> {
  await replaceBy(to, (temporary) => copyFile(from, temporary));
}

/**
 * Gives a file that is whole its name, once it is on the disk: whoever finds it by that name later finds all of it.
 *
 * @throws As {@link replaceFile} does.
 */
export async function moveIntoPlace(from: string, to: string): Promise<void> {
  await sync(from);
  await rename(from, to);
  await syncFolder(dirname(to));
}

/** What opening a folder or syncing it says where that can't be done, as on Windows: there the system sees to it. */
const noFolders = ['EISDIR', 'EPERM', 'EACCES', 'EINVAL'];

/**
 * Brings onto the disk which files a folder has: what was renamed or removed there stays so, whatever happens to the machine.
 *
 * @throws What the file system says.
 */
export async function syncFolder(path: string): Promise<void> {
  await sync(path).catch((error: unknown) => {
    if (!noFolders.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  });
}

async function replaceBy(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    await write(temporary);
    await moveIntoPlace(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Open for reading, for a copy has the rights of what was copied. */
async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  await file.sync().finally(() => file.close());
}
