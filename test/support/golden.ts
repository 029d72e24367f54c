import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Tokenizer } from '../../lib/models/tokenizer';
import { crc32 } from './crc32';

/** What `make_tokenizer_golden.py` writes of a list of strings. */
export interface TokenizerGolden {
  strings: string[];
  /** Base64 of one little-endian 32-bit hash per string. */
  hashes: string;
  /** Index, ids with control tokens, ids without. */
  examples: [number, number[], number[]][];
}

/** A gzipped JSON file of test/fixtures. */
export function readFixture<T>(name: string): T {
  return JSON.parse(gunzipSync(readFileSync(join(__dirname, '../fixtures', name))).toString('utf8')) as T;
}

/** Encodes and decodes every string and compares with the golden data; the strings that differ. */
export function differingStrings(tokenizer: Tokenizer, golden: TokenizerGolden): string[] {
  const hashes = Buffer.from(golden.hashes, 'base64');
  return golden.strings.filter((text, index) => {
    const special = tokenizer.encode(text, { special: true });
    const plain = tokenizer.encode(text);
    const decoded = Buffer.from(tokenizer.decode(special));
    const ids = Buffer.from(Uint32Array.from([...special, ...plain]).buffer);
    return crc32(Buffer.concat([ids, decoded])) !== hashes.readUInt32LE(index * 4);
  });
}
