import fc from 'fast-check';
import { StopMatcher } from '../../lib/decode/stop';

/** The definition, character by character: the stop string complete first ends the text, the longest one of several. */
function cut(text: string, stops: string[]): string {
  for (let end = 1; end <= text.length; ++end) {
    const complete = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (complete.length > 0) return text.slice(0, end - Math.max(...complete.map((stop) => stop.length)));
  }
  return text;
}

function chunked(text: string, sizes: number[]): string[] {
  const chunks = [];
  let at = 0;
  for (let i = 0; at < text.length; ++i) {
    const size = sizes.length > 0 ? sizes[i % sizes.length] : text.length;
    chunks.push(text.slice(at, at + size));
    at += size;
  }
  return chunks;
}

const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 60 });
const stopList = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 5 }), {
  maxLength: 4,
});
const sizeList = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 8 });

test('any chunking gives the text up to the first stop string', () => {
  fc.assert(
    fc.property(letters, stopList, sizeList, (text, stops, sizes) => {
      const matcher = new StopMatcher(stops);
      let shown = '';
      for (const chunk of chunked(text, sizes)) shown += matcher.push(chunk);
      shown += matcher.flush();
      expect(shown).toBe(cut(text, stops));
      expect(matcher.matched === undefined).toBe(cut(text, stops) === text);
    }),
    { numRuns: 2000 },
  );
});

test('nothing shown before a match is ever part of the match', () => {
  fc.assert(
    fc.property(letters, stopList, sizeList, (text, stops, sizes) => {
      const matcher = new StopMatcher(stops);
      const expected = cut(text, stops);
      let shown = '';
      for (const chunk of chunked(text, sizes)) {
        shown += matcher.push(chunk);
        expect(expected.startsWith(shown)).toBe(true);
      }
    }),
    { numRuns: 1000 },
  );
});

test('only what may still become a stop string is held back', () => {
  const matcher = new StopMatcher(['</answer>']);
  expect(matcher.push('one < two')).toBe('one < two');
  expect(matcher.push(' </ans')).toBe(' ');
  expect(matcher.push('wer ')).toBe('</answer ');
  expect(matcher.push('</answer>')).toBe('');
  expect(matcher.matched).toBe('</answer>');
  expect(matcher.push('more')).toBe('');
  expect(matcher.flush()).toBe('');
});

test('the longest of several stop strings complete at once ends the text', () => {
  const matcher = new StopMatcher(['bc', 'abc', 'c']);
  expect(matcher.push('xab')).toBe('x');
  expect(matcher.push('c')).toBe('');
  expect(matcher.matched).toBe('abc');
});
