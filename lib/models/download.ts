import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ForetokenError, writing } from '../error';
import { moveIntoPlace } from '../replace-file';
import type { OnProgress } from './progress';

/** What a file must be: the SHA-256 of its bytes, or the SHA-1 that git gives it as a blob. */
export interface Digest {
  kind: 'sha256' | 'git';
  /** In lower-case hexadecimal. */
  value: string;
}

/** A file to download. */
export interface Download {
  url: string;
  /** Where it goes. It takes this name once it is whole and checked; until then it is `<target>.incomplete`. */
  target: string;
  /** Bytes it must have. */
  size: number;
  digest: Digest;
  /** Makes the request; it is expected to bring credentials along and to turn refusals into errors. */
  request: (url: string, headers: Record<string, string>, signal?: AbortSignal) => Promise<Response>;
  onProgress?: OnProgress;
  signal?: AbortSignal;
}

/** Attempts in a row that bring nothing before we give up. */
const MAX_IDLE_ATTEMPTS = 4;
const IDLE_MS = 30_000;
const BACKOFF_MS = 500;

/**
 * Downloads a file, going on where an earlier attempt, also one of another process's life, was cut off.
 *
 * @throws ForetokenError `DOWNLOAD_CORRUPT` if what came is not the file, `WRITE_FAILED` if it can't be written,
 *   `HUB_UNREACHABLE` if the connection is lost time and again, and what `request` throws.
 */
export async function download(file: Download): Promise<void> {
  await writing(dirname(file.target), mkdir(dirname(file.target), { recursive: true }));
  const partial = `${file.target}.incomplete`;
  let idle = 0;
  for (let have = await sizeOf(partial); have !== file.size;) {
    file.signal?.throwIfAborted();
    const failure = await receive(file, partial, Math.max(have, 0));
    const now = await sizeOf(partial);
    idle = now > have ? 0 : idle + 1;
    if (now !== file.size) {
      if (idle >= MAX_IDLE_ATTEMPTS) throw lost(file.url, failure);
      await sleep(BACKOFF_MS * idle, undefined, { signal: file.signal });
    }
    have = now;
  }
  await check(file, partial);
  await writing(file.target, moveIntoPlace(partial, file.target));
  await rm(etagPath(partial), { force: true });
}

/** One request for what is missing, appended to the partial file; what ended it. */
async function receive(file: Download, partial: string, have: number): Promise<unknown> {
  const etag = have > 0 ? await readFile(etagPath(partial), 'utf8').catch(() => '') : '';
  const headers: Record<string, string> = { 'accept-encoding': 'identity' };
  if (have > 0 && have < file.size) headers.range = `bytes=${have}-`;
  if (headers.range && etag) headers['if-range'] = etag;
  let response: Response;
  try {
    response = await file.request(file.url, headers, file.signal);
  } catch (error) {
    file.signal?.throwIfAborted();
    if (!(error instanceof ForetokenError)) return error;
    // A server that does not like the range may still like to send the whole.
    if (error.code === 'HUB_ERROR' && have > 0) await rm(partial, { force: true });
    else if (error.code !== 'HUB_UNREACHABLE') throw error;
    return error;
  }
  const from = response.status === 206 ? startOf(response) : 0;
  if (from !== 0 && from !== have) {
    await response.body?.cancel();
    await rm(partial, { force: true });
    return new Error(`the server sent bytes from ${from} on instead of ${have}`);
  }
  await rememberEtag(partial, response);
  return append(file, partial, from, response);
}

/** Where a partial response starts. */
function startOf(response: Response): number {
  return Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1] ?? NaN);
}

/** Only strong tags may be used to go on with a file. */
async function rememberEtag(partial: string, response: Response): Promise<void> {
  const etag = response.headers.get('etag') ?? '';
  if (etag.startsWith('"')) await writing(etagPath(partial), writeFile(etagPath(partial), etag));
  else await rm(etagPath(partial), { force: true });
}

/** Writes a response from an offset on; what ended it. */
async function append(file: Download, partial: string, from: number, response: Response): Promise<unknown> {
  const handle = await writing(partial, open(partial, from === 0 ? 'w' : 'r+'));
  let at = from;
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  try {
    reader = response.body?.getReader();
    for (;;) {
      const { done, value } = reader ? await withinIdleTime(reader.read()) : { done: true, value: undefined };
      if (done || !value) return new Error('the connection was closed');
      if (at + value.length > file.size) throw corrupt(file, `it is longer than ${file.size} bytes`);
      await writing(partial, write(handle, value, at)); // a disk that takes no more is no lost connection
      at += value.length;
      file.onProgress?.({ stage: 'download', file: basename(file.target), done: at, total: file.size });
    }
  } catch (error) {
    file.signal?.throwIfAborted();
    if (!(error instanceof ForetokenError)) return error;
    if (error.code === 'DOWNLOAD_CORRUPT') await rm(partial, { force: true });
    throw error;
  } finally {
    await handle.close();
    await reader?.cancel().catch(() => undefined);
  }
}

/** Writes all of a piece. */
async function write(handle: FileHandle, piece: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < piece.length;)
    done += (await handle.write(piece, done, piece.length - done, at + done)).bytesWritten;
}

/** A read that gives up when nothing comes for long. */
async function withinIdleTime<T>(read: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const idle = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${IDLE_MS / 1000} s`)), IDLE_MS);
  });
  try {
    return await Promise.race([read, idle]);
  } finally {
    clearTimeout(timer);
  }
}

/** Hashes what is on disk; a file that is not what it should be is removed, so that the next attempt starts afresh. */
async function check(file: Download, partial: string): Promise<void> {
  const hash = startHash(file.digest.kind, file.size);
  let done = 0;
  for await (const chunk of createReadStream(partial, { highWaterMark: 1 << 20, signal: file.signal })) {
    hash.update(chunk as Buffer);
    done += (chunk as Buffer).length;
    file.onProgress?.({ stage: 'verify', file: basename(file.target), done, total: file.size });
  }
  const value = hash.digest('hex');
  if (value === file.digest.value) return;
  await rm(partial, { force: true });
  await rm(etagPath(partial), { force: true });
  throw corrupt(file, `its ${file.digest.kind} hash is ${value} instead of ${file.digest.value}`);
}

function startHash(kind: Digest['kind'], size: number): Hash {
  return kind === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}

function etagPath(partial: string): string {
  return `${partial}.etag`;
}

/** Bytes of a file; -1 if there is none. */
async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (info) => info.size,
    () => -1,
  );
}

function corrupt(file: Download, what: string): ForetokenError {
  return new ForetokenError('DOWNLOAD_CORRUPT', `${file.url} is not the file it should be: ${what}`);
}

function lost(url: string, cause: unknown): ForetokenError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ForetokenError('HUB_UNREACHABLE', `${url} can't be downloaded: ${why}`, { cause });
}
