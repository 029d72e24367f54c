import fc from 'fast-check';
import { keyWidth } from '../../lib/native';
import { packKeys, unpackKeys } from '../../lib/speculators/packed-keys';

/** Directions as projections at random have them, and sometimes none, as keys. */
const numbers = fc.array(fc.double({ min: 1e-9, max: 1 - 1e-9, noNaN: true }), {
  minLength: 2 * keyWidth,
  maxLength: 2 * keyWidth,
});
const key = fc.oneof({ weight: 9, arbitrary: numbers.map(normal) }, fc.constant(new Int8Array(keyWidth)));
const keys = fc.array(key, { maxLength: 20 }).map((each) => Int8Array.from(each.flatMap((numbers) => [...numbers])));

/** Normal numbers (Box and Muller) of length 127. */
function normal(uniform: number[]): Int8Array {
  const of = (i: number): number =>
    Math.sqrt(-2 * Math.log(uniform[2 * i])) * Math.cos(2 * Math.PI * uniform[2 * i + 1]);
  const direction = Array.from({ length: keyWidth }, (_, i) => of(i));
  const length = Math.sqrt(dot(direction, direction)) || 1;
  return Int8Array.from(direction, (number) => Math.round((127 * number) / length));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((sum, number, i) => sum + number * b[i], 0);
}

test('packed again, keys are the same bytes', () => {
  fc.assert(
    fc.property(keys, (some) => {
      const packed = packKeys(some);
      expect(packed).toHaveLength(some.length / 4);
      expect(packKeys(unpackKeys(packed))).toEqual(packed);
    }),
  );
});

test('keys keep their length and no key becomes one or stays none', () => {
  fc.assert(
    fc.property(keys, (some) => {
      const kept = unpackKeys(packKeys(some));
      for (let at = 0; at < some.length; at += keyWidth) {
        const length = Math.sqrt(dot(kept.subarray(at, at + keyWidth), kept.subarray(at, at + keyWidth)));
        if (some.subarray(at, at + keyWidth).every((number) => number === 0)) expect(length).toBe(0);
        else expect(Math.abs(length - 127)).toBeLessThan(6); // levels are whole numbers
      }
    }),
  );
});

test('random keys keep their direction', () => {
  const random = mulberry(5);
  let cosines = 0;
  for (let i = 0; i < 1000; i++) {
    const one = normal(Array.from({ length: 2 * keyWidth }, random));
    const kept = unpackKeys(packKeys(one));
    cosines += dot(one, kept) / Math.sqrt(dot(one, one) * dot(kept, kept));
  }
  expect(cosines / 1000).toBeGreaterThan(0.93); // what four levels can keep of a normal distribution is 0.94
});

/** Uniform numbers between 0 and 1. */
function mulberry(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296 || 0.5;
  };
}
