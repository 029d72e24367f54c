import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { openZipEntry, readZipEntries } from '../../lib/models/zip';
import { temporaryFolder } from '../support/temporary';
import { makeZip } from '../support/zip';

const folder = temporaryFolder();
const text = Buffer.from('a line that repeats\n'.repeat(5000));
const noise = randomBytes(70_000);

function write(data: Buffer): string {
  const path = join(folder(), 'archive.zip');
  writeFileSync(path, data);
  return path;
}

const both = () =>
  makeZip([
    { name: 'a/text.txt', data: text },
    { name: 'noise.bin', data: noise, store: true },
    { name: 'empty', data: Buffer.alloc(0), store: true },
  ]);

test('lists and expands deflated, stored and empty files', async () => {
  const path = write(both());
  const entries = await readZipEntries(path);
  expect(entries.map((entry) => [entry.name, entry.size, entry.method])).toEqual([
    ['a/text.txt', text.length, 8],
    ['noise.bin', noise.length, 0],
    ['empty', 0, 0],
  ]);
  expect((await buffer(await openZipEntry(path, entries[0]))).equals(text)).toBe(true);
  expect((await buffer(await openZipEntry(path, entries[1]))).equals(noise)).toBe(true);
  expect((await buffer(await openZipEntry(path, entries[2]))).length).toBe(0);
});

test('finds the directory before a comment', async () => {
  const archive = both();
  archive.writeUInt16LE(5, archive.length - 2);
  expect(await readZipEntries(write(Buffer.concat([archive, Buffer.from('hello')])))).toHaveLength(3);
});

test('refuses every truncation', async () => {
  const archive = both();
  for (const keep of [0, 1, 21, 22, 100, archive.length - 23, archive.length - 1]) {
    await expect(readZipEntries(write(archive.subarray(0, keep)))).rejects.toMatchObject({ code: 'ZIP_MALFORMED' });
  }
});

test('refuses a directory that lies about its own place, size or count', async () => {
  const end = both().length - 22;
  const lies: [number, number][] = [
    [end + 16, 0xfffffff0], // offset
    [end + 12, 0x7fffffff], // size
    [end + 16, 3], // offset of something else
  ];
  for (const [at, value] of lies) {
    const archive = both();
    archive.writeUInt32LE(value, at);
    await expect(readZipEntries(write(archive))).rejects.toMatchObject({ code: 'ZIP_MALFORMED' });
  }
  const archive = both();
  archive.writeUInt16LE(9, end + 10);
  await expect(readZipEntries(write(archive))).rejects.toMatchObject({ code: 'ZIP_MALFORMED' });
});

test('refuses entries that reach beyond the archive, encryption and unknown methods', async () => {
  const directory = both().indexOf(Buffer.from('PK\x01\x02', 'latin1'));
  const lies: [number, number][] = [
    [directory + 8, 1], // encrypted
    [directory + 10, 12], // bzip2
    [directory + 22, 0xffff], // compressed size beyond the end
    [directory + 44, 0xffff], // header beyond the end
  ];
  for (const [at, value] of lies) {
    const archive = both();
    archive.writeUInt16LE(value, at);
    await expect(readZipEntries(write(archive))).rejects.toMatchObject({ code: 'ZIP_MALFORMED' });
  }
});

test('ends in an error when an entry expands to more or less than declared, or is damaged', async () => {
  const directory = both().indexOf(Buffer.from('PK\x01\x02', 'latin1'));
  for (const size of [text.length - 1, text.length + 1]) {
    const archive = both();
    archive.writeUInt32LE(size, directory + 24);
    const path = write(archive);
    const entry = (await readZipEntries(path))[0];
    await expect(buffer(await openZipEntry(path, entry))).rejects.toMatchObject({ code: 'ZIP_MALFORMED' });
  }
  const archive = both();
  archive.fill(0xff, 45, 70);
  const path = write(archive);
  const entry = (await readZipEntries(path))[0];
  await expect(buffer(await openZipEntry(path, entry))).rejects.toMatchObject({ code: 'ZIP_MALFORMED' });
});
