import { readFileSync } from 'node:fs';
import type { GgufValue } from '../../lib/native';

/**
 * GGUF metadata read the simple way, for tests that must not depend on the native reader. The file is trusted.
 *
 * @param path A little-endian GGUF v2 or v3 file.
 */
export function readGgufMetadataPlainly(path: string): Record<string, GgufValue> {
  const data = readFileSync(path);
  let at = 0;
  const take = (bytes: number): number => {
    at += bytes;
    return at - bytes;
  };
  const u32 = (): number => data.readUInt32LE(take(4));
  const u64 = (): number => Number(data.readBigUInt64LE(take(8)));
  const text = (): string => {
    const length = u64();
    const from = take(length);
    return data.toString('utf8', from, from + length);
  };
  const value = (type: number): GgufValue => {
    if (type === 0) return data.readUInt8(take(1));
    if (type === 1) return data.readInt8(take(1));
    if (type === 2) return data.readUInt16LE(take(2));
    if (type === 3) return data.readInt16LE(take(2));
    if (type === 4) return u32();
    if (type === 5) return data.readInt32LE(take(4));
    if (type === 6) return data.readFloatLE(take(4));
    if (type === 7) return data.readUInt8(take(1)) !== 0;
    if (type === 8) return text();
    if (type === 9) {
      const inner = u32();
      return Array.from({ length: u64() }, () => value(inner));
    }
    if (type === 10) return u64();
    if (type === 11) return Number(data.readBigInt64LE(take(8)));
    if (type === 12) return data.readDoubleLE(take(8));
    throw new Error(`unknown type ${type}`);
  };
  if (data.toString('latin1', take(4), 4) !== 'GGUF') throw new Error('not a GGUF file');
  u32();
  u64();
  const count = u64();
  return Object.fromEntries(Array.from({ length: count }, () => [text(), value(u32())]));
}
