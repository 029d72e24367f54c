import { mkdirSync, readFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../lib/replace-file';
import { logOfDisk } from './support/disk-log';
import { temporaryFolder } from './support/temporary';

const folder = temporaryFolder();
const kept = (): string => join(folder(), 'kept');
const path = (): string => join(kept(), 'file');
const failed = (code: string): Error => Object.assign(new Error(`${code}: failed`), { code });

afterEach(() => jest.restoreAllMocks());

/** Opening the folder fails with a code, or syncing it does. */
function failForFolder(step: 'open' | 'sync', code: string): void {
  const { open } = fs;
  jest.spyOn(fs, 'open').mockImplementation(async (what, flags, mode): Promise<FileHandle> => {
    if (what === kept() && step === 'open') throw failed(code);
    const handle = await open(what, flags, mode);
    if (what === kept()) handle.sync = () => Promise.reject(failed(code));
    return handle;
  });
}

test('a file is on the disk before it has its name, and its name when it is done', async () => {
  const log = logOfDisk();
  await replaceFile(path(), ['text']);
  const [synced, renamed, last] = log;
  const temporary = synced.replace('sync ', '');
  expect(temporary).toMatch(/^file\..+\.tmp$/);
  expect([renamed, last]).toEqual([`rename ${temporary} file`, 'sync kept']);
  expect(log).toHaveLength(3);
});

test.each([
  ['open', 'EISDIR'],
  ['open', 'EPERM'],
  ['open', 'EACCES'],
  ['sync', 'EINVAL'],
] as const)('where a system does not %s folders (%s) nothing is missing', async (step, code) => {
  mkdirSync(kept());
  failForFolder(step, code);
  await replaceFile(path(), ['text']);
  expect(readFileSync(path(), 'utf8')).toBe('text');
});

test('a disk that fails there is told', async () => {
  failForFolder('sync', 'EIO');
  await expect(replaceFile(path(), ['text'])).rejects.toMatchObject({ code: 'EIO' });
});
