import fs from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';

/**
 * What is done from now on to files and folders, by name and in order: `sync a`, `rename a b`, `rm a`. Until `jest.restoreAllMocks`.
 */
export function logOfDisk(): string[] {
  const log: string[] = [];
  const { open, rename, rm } = fs;
  const named = (path: unknown): string => basename(String(path));
  jest.spyOn(fs, 'open').mockImplementation(async (path, flags, mode) => {
    const handle: FileHandle = await open(path, flags, mode);
    const sync = handle.sync.bind(handle);
    handle.sync = () => {
      log.push(`sync ${named(path)}`);
      return sync();
    };
    return handle;
  });
  jest.spyOn(fs, 'rename').mockImplementation((from, to) => {
    log.push(`rename ${named(from)} ${named(to)}`);
    return rename(from, to);
  });
  jest.spyOn(fs, 'rm').mockImplementation((path, options) => {
    log.push(`rm ${named(path)}`);
    return rm(path, options);
  });
  return log;
}
