import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { ForetokenError } from '../error';

/** One file inside a zip archive. */
export interface ZipEntry {
  /** Its path inside the archive. */
  name: string;
  /** 0: stored as it is, 8: deflated. */
  method: number;
  compressedSize: number;
  size: number;
  /** Offset of its local header in the archive. */
  headerOffset: number;
}

const END_SIGNATURE = 0x06054b50;
const END_SIZE = 22;
const MAX_COMMENT = 0xffff;
const CENTRAL_SIGNATURE = 0x02014b50;
const CENTRAL_SIZE = 46;
const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_SIZE = 30;
/** A wheel's directory takes kilobytes; a directory beyond this is not one we want to hold in memory. */
const MAX_DIRECTORY = 16 << 20;

/**
 * Lists the files of a zip archive from its central directory (PKWARE APPNOTE 4.3; no zip64, no encryption).
 *
 * @param path The archive.
 * @throws ForetokenError `ZIP_MALFORMED` if the archive contradicts itself or needs what is not supported.
 */
export async function readZipEntries(path: string): Promise<ZipEntry[]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const end = await readEnd(file, size, path);
    const count = end.readUInt16LE(10);
    const directorySize = end.readUInt32LE(12);
    const directoryOffset = end.readUInt32LE(16);
    if (directoryOffset + directorySize > size) throw malformed(path, 'its directory lies beyond its end');
    if (directorySize > MAX_DIRECTORY) throw malformed(path, 'its directory is too large');
    const directory = await readExactly(file, directoryOffset, directorySize, path);
    return parseDirectory(directory, count, size, path);
  } finally {
    await file.close();
  }
}

/**
 * Opens one file of a zip archive for reading.
 *
 * The stream ends in an error if the data is damaged, or is longer or shorter than the directory said.
 *
 * @throws ForetokenError `ZIP_MALFORMED` if the entry's local header is not where the directory says.
 */
export async function openZipEntry(path: string, entry: ZipEntry): Promise<Readable> {
  const file = await open(path, 'r');
  let start: number;
  let archiveSize: number;
  try {
    archiveSize = (await file.stat()).size;
    const header = await readExactly(file, entry.headerOffset, LOCAL_SIZE, path);
    if (header.readUInt32LE(0) !== LOCAL_SIGNATURE) throw malformed(path, `no file starts where ${entry.name} should`);
    start = entry.headerOffset + LOCAL_SIZE + header.readUInt16LE(26) + header.readUInt16LE(28);
  } finally {
    await file.close();
  }
  if (start + entry.compressedSize > archiveSize) throw malformed(path, `${entry.name} reaches beyond its end`);
  if (entry.compressedSize === 0) return Readable.from([]);
  const raw = createReadStream(path, { start, end: start + entry.compressedSize - 1 });
  return Readable.from(expand(raw, entry, path));
}

async function* expand(raw: Readable, entry: ZipEntry, path: string): AsyncGenerator<Buffer> {
  let source = raw;
  if (entry.method === 8) {
    const inflate = createInflateRaw({ chunkSize: 1 << 18 });
    raw.on('error', (error) => inflate.destroy(error));
    source = raw.pipe(inflate);
  }
  let seen = 0;
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      seen += chunk.length;
      if (seen > entry.size) throw malformed(path, `${entry.name} is longer than its directory says`);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof ForetokenError) throw error;
    throw malformed(path, `${entry.name} can't be expanded`, error);
  } finally {
    raw.destroy();
    source.destroy();
  }
  if (seen !== entry.size) throw malformed(path, `${entry.name} is shorter than its directory says`);
}

/** The end record: the last one whose comment reaches exactly to the end of the file. */
async function readEnd(file: FileHandle, size: number, path: string): Promise<Buffer> {
  const length = Math.min(size, END_SIZE + MAX_COMMENT);
  const tail = await readExactly(file, size - length, length, path);
  for (let at = length - END_SIZE; at >= 0; at--) {
    if (tail.readUInt32LE(at) === END_SIGNATURE && at + END_SIZE + tail.readUInt16LE(at + 20) === length) {
      return tail.subarray(at, at + END_SIZE);
    }
  }
  throw malformed(path, 'it has no zip directory');
}

function parseDirectory(directory: Buffer, count: number, archiveSize: number, path: string): ZipEntry[] {
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_SIZE > directory.length || directory.readUInt32LE(at) !== CENTRAL_SIGNATURE) {
      throw malformed(path, 'its directory is cut short');
    }
    const nameLength = directory.readUInt16LE(at + 28);
    const next = at + CENTRAL_SIZE + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
    if (next > directory.length) throw malformed(path, 'its directory is cut short');
    const entry: ZipEntry = {
      name: directory.toString('utf8', at + CENTRAL_SIZE, at + CENTRAL_SIZE + nameLength),
      method: directory.readUInt16LE(at + 10),
      compressedSize: directory.readUInt32LE(at + 20),
      size: directory.readUInt32LE(at + 24),
      headerOffset: directory.readUInt32LE(at + 42),
    };
    checkEntry(entry, directory.readUInt16LE(at + 8), archiveSize, path);
    entries.push(entry);
    at = next;
  }
  return entries;
}

function checkEntry(entry: ZipEntry, flags: number, archiveSize: number, path: string): void {
  if (flags & 1) throw malformed(path, `${entry.name} is encrypted`);
  if (entry.method !== 0 && entry.method !== 8) {
    throw malformed(path, `${entry.name} is packed by method ${entry.method}, which is not supported`);
  }
  if (entry.method === 0 && entry.size !== entry.compressedSize) throw malformed(path, `${entry.name} has two sizes`);
  if (entry.headerOffset + LOCAL_SIZE + entry.compressedSize > archiveSize) {
    throw malformed(path, `${entry.name} reaches beyond its end`);
  }
}

async function readExactly(file: FileHandle, offset: number, length: number, path: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, offset);
  if (bytesRead !== length) throw malformed(path, 'it is cut short');
  return buffer;
}

function malformed(path: string, what: string, cause?: unknown): ForetokenError {
  return new ForetokenError('ZIP_MALFORMED', `${path} can't be read as a zip archive: ${what}`, { cause });
}
