import { keyWidth } from '../native';

/** Bytes of a key in a file. */
export const packedKeyBytes = keyWidth / 4;

/** Length of the keys that native code makes, and the deviation of a number of theirs. */
const norm = 127;
const deviation = norm / Math.sqrt(keyWidth);
/** Beyond one deviation a number is large. Where the numbers of a normal distribution lie on average, small and large ones. */
const small = 0.46 * deviation;
const large = 1.53 * deviation;

/** Large numbers among the four of a byte. */
const largeOf = Uint8Array.from({ length: 256 }, (_, byte) => {
  return [0, 2, 4, 6].filter((shift) => isLarge((byte >> shift) & 3)).length;
});

/** What {@link numbersOf} has made. */
const made: Int32Array[] = [];

/** The four numbers of each byte as they lie in memory, by how many of the key's numbers are large: so that all keys are equally long. */
function numbersOf(count: number): Int32Array {
  return (made[count] ??= makeNumbers(count));
}

function makeNumbers(count: number): Int32Array {
  const scale = norm / Math.sqrt((keyWidth - count) * small ** 2 + count * large ** 2);
  const levels = [-large, -small, small, large].map((level) => Math.round(level * scale));
  const numbers = Int8Array.from({ length: 4 * 256 }, (_, i) => levels[((i >> 2) >> (2 * (i & 3))) & 3]);
  return new Int32Array(numbers.buffer);
}

/**
 * Keys in two bits a number instead of eight: below or above 0, by less or more than one deviation, which is about what four levels can
 * best tell of a normal distribution. Nothing was lost by it that drafts would show. A key of zeros, which is none, becomes the one of large negative
 * numbers only, which no key can be.
 *
 * @param keys `[n][keyWidth]`, each of length 127 or all 0.
 * @returns `[n][keyWidth / 4]`, the first number in the lowest bits.
 */
export function packKeys(keys: Int8Array): Uint8Array {
  const packed = new Uint8Array(keys.length / 4);
  for (let key = 0; key < keys.length; key += keyWidth) {
    if (isNone(keys, key)) continue;
    for (let i = key; i < key + keyWidth; i++) packed[i >> 2] |= codeOf(keys[i]) << (2 * (i & 3));
  }
  return packed;
}

/** What {@link packKeys} keeps of keys; packed again they give the same bytes. */
export function unpackKeys(packed: Uint8Array): Int8Array {
  const keys = new Int32Array(packed.length);
  for (let key = 0; key < packed.length; key += packedKeyBytes) {
    let count = 0;
    let any = 0;
    for (let i = key; i < key + packedKeyBytes; i++) {
      count += largeOf[packed[i]];
      any |= packed[i];
    }
    if (any === 0) continue;
    const numbers = numbersOf(count);
    for (let i = key; i < key + packedKeyBytes; i++) keys[i] = numbers[packed[i]];
  }
  return new Int8Array(keys.buffer);
}

/** 0 to 3, upwards. */
function codeOf(number: number): number {
  const code = Math.abs(number) > deviation ? 1 : 0;
  return number < 0 ? 1 - code : 2 + code;
}

function isLarge(code: number): boolean {
  return code === 0 || code === 3;
}

function isNone(keys: Int8Array, key: number): boolean {
  for (let i = key; i < key + keyWidth; i++) if (keys[i] !== 0) return false;
  return true;
}
