import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ForetokenError, callNative, writing } from '../error';
import { packedKeyBytes } from '../native';
import type { NativeEngine } from '../native';
import { replaceFile } from '../replace-file';
import { speculatorFolders } from './folders';

/** Remembered text: tokens (-1 ends a document) and {@link packedKeyBytes} of key for each. */
export interface Memory {
  tokens: Int32Array;
  keys: Uint8Array;
}

/** Raised whenever files of older versions would be misread: layout, projection or layer of the keys. */
const format = 'foretoken memory 2';
/** As many as a tenant's own shelf holds (`native/speculate/library.cc`). */
const mostTokens = 8 * 32768;
/** No header of ours comes near this. */
const longestHeader = 1 << 16;

/** The static memory of a model in a folder of such: a model is known by the hash of its source. */
export function memoryPath(folder: string, sourceHash: string): string {
  return join(folder, `${sourceHash}.memory.safetensors`);
}

/**
 * Gives an engine its static memory.
 *
 * @param choice A path; true = the one made for the model, or else the one that ships, if there is any; false = none.
 * @param cacheFolder Where one that was made lies.
 * @throws ForetokenError FILE_NOT_FOUND, MEMORY_INVALID, MEMORY_MISMATCH, OUT_OF_MEMORY
 */
export async function loadMemory(native: NativeEngine, choice: string | boolean, cacheFolder: string): Promise<void> {
  const { sourceHash } = native.info();
  const lying = speculatorFolders(cacheFolder).map((folder) => memoryPath(folder, sourceHash));
  const path = typeof choice === 'string' ? choice : choice && lying.find((each) => existsSync(each));
  if (!path) return;
  const { tokens, keys } = await readMemory(path, sourceHash);
  try {
    await callNative(() => native.setStaticMemory(tokens, keys));
  } catch (error) {
    throw (error as { code?: unknown }).code === 'INVALID_ARGUMENT' ? invalid(path, (error as Error).message) : error;
  }
}

/**
 * Writes a memory as a safetensors file, whole or not at all.
 *
 * @param sourceHash The model whose hidden states made the keys.
 * @throws ForetokenError WRITE_FAILED
 */
export async function writeMemory(path: string, memory: Memory, sourceHash: string): Promise<void> {
  const { tokens, keys } = memory;
  const split = tokens.byteLength;
  const header = JSON.stringify({
    __metadata__: { format, model: sourceHash },
    tokens: { dtype: 'I32', shape: [tokens.length], data_offsets: [0, split] },
    keys: { dtype: 'U8', shape: [tokens.length, packedKeyBytes], data_offsets: [split, split + keys.byteLength] },
  });
  const text = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writing(path, replaceFile(path, [length, text, bytesOf(tokens), bytesOf(keys)]));
}

/** Both, the older's texts first, but for those that the newer holds as well and, beyond {@link mostTokens}, the oldest. */
export function joinMemories(older: Memory, newer: Memory): Memory {
  const said = new Set(Array.from(documentsOf(newer), (document) => wordOf(newer, document)));
  const kept: Document[] = [];
  let room = mostTokens - newer.tokens.length;
  for (const document of [...documentsOf(older)].reverse()) {
    if (said.has(wordOf(older, document))) continue;
    room -= document.end - document.begin;
    if (room < 0) break;
    kept.push(document);
  }
  const parts = kept.reverse().map(({ begin, end }) => ({
    tokens: older.tokens.subarray(begin, end),
    keys: older.keys.subarray(begin * packedKeyBytes, end * packedKeyBytes),
  }));
  return concatenated([...parts, newer]);
}

/** Where a text lies in a memory, with its border. */
interface Document {
  begin: number;
  end: number;
}

function* documentsOf({ tokens }: Memory): Generator<Document> {
  for (let begin = 0; begin < tokens.length;) {
    const border = tokens.indexOf(-1, begin);
    const end = border < 0 ? tokens.length : border + 1;
    yield { begin, end };
    begin = end;
  }
}

/** A text as a string, equal for equal texts. */
function wordOf({ tokens }: Memory, { begin, end }: Document): string {
  return Buffer.from(tokens.buffer, tokens.byteOffset + begin * 4, (end - begin) * 4).toString('latin1');
}

function concatenated(parts: readonly Memory[]): Memory {
  const count = parts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const whole = { tokens: new Int32Array(count), keys: new Uint8Array(count * packedKeyBytes) };
  let at = 0;
  for (const { tokens, keys } of parts) {
    whole.tokens.set(tokens, at);
    whole.keys.set(keys, at * packedKeyBytes);
    at += tokens.length;
  }
  return whole;
}

/**
 * Reads what {@link writeMemory} wrote.
 *
 * @throws ForetokenError FILE_NOT_FOUND, MEMORY_INVALID where the file can't be read or isn't whole, MEMORY_MISMATCH where another model
 *   made it.
 */
export async function readMemory(path: string, sourceHash: string): Promise<Memory> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw invalid(path, (error as Error).message, error);
    throw new ForetokenError('FILE_NOT_FOUND', `${path} can't be read: there is no such file.`, {
      cause: error,
      file: path,
    });
  }
  const { start, count, model } = readHeader(path, bytes);
  if (model !== sourceHash) {
    throw new ForetokenError(
      'MEMORY_MISMATCH',
      `${path} was made by model ${model}, not by ${sourceHash}: its keys mean nothing here. Make one for this model.`,
    );
  }
  const split = start + count * 4;
  const tokens = new Int32Array(count);
  Buffer.from(tokens.buffer).set(bytes.subarray(start, split));
  return { tokens, keys: new Uint8Array(bytes.buffer, bytes.byteOffset + split, count * packedKeyBytes) };
}

/** Where the data starts, for how many tokens, and whose it is; every size is checked against the file's. */
function readHeader(path: string, bytes: Buffer): { start: number; count: number; model: string } {
  const length = bytes.length >= 8 ? Number(bytes.readBigUInt64LE()) : -1;
  if (length < 2 || length > longestHeader || 8 + length > bytes.length) throw invalid(path, 'it has no header');
  let header: { __metadata__?: { format?: string; model?: string }; tokens?: { shape?: unknown } };
  try {
    header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as typeof header;
  } catch {
    throw invalid(path, 'its header is no JSON');
  }
  const { __metadata__: facts, tokens } = header ?? {};
  if (facts?.format !== format) throw invalid(path, `it is no '${format}' file`);
  const start = 8 + length;
  const count = Math.floor((bytes.length - start) / (4 + packedKeyBytes));
  const whole =
    Array.isArray(tokens?.shape) && tokens.shape[0] === count && start + count * (4 + packedKeyBytes) === bytes.length;
  if (!whole || typeof facts.model !== 'string') throw invalid(path, 'it is not as long as its header says');
  return { start, count, model: facts.model };
}

function bytesOf(array: Int32Array | Uint8Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** `cause`: what stood in the way of reading the file at all. */
function invalid(path: string, why: string, cause?: unknown): ForetokenError {
  return new ForetokenError('MEMORY_INVALID', `${path} is not a usable memory: ${why}.`, { cause });
}
