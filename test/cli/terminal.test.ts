import fc from 'fast-check';
import { ProgressDisplay, WrappedText, formatBytes, sparkline } from '../../lib/cli/terminal';

function wrap(pieces: string[], indent = '| ', width = 32): string {
  let written = '';
  const text = new WrappedText((piece) => (written += piece), indent, width);
  for (const piece of pieces) text.push(piece);
  text.end();
  return written;
}

test('lines are indented and broken at blanks', () => {
  expect(wrap(['The quick brown fox jumps ', 'over the lazy dog and ru', 'ns.\n\n', 'End'])).toBe(
    '| The quick brown fox jumps over\n| the lazy dog and runs.\n|\n| End\n',
  );
});

test('the same lines come out, however the text is cut', () => {
  const words = fc.string({ unit: fc.constantFrom('a', 'b', ' ', '\n'), maxLength: 120 });
  fc.assert(
    fc.property(words, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (text, sizes) => {
      const pieces = [];
      for (let at = 0, i = 0; at < text.length; at += sizes[i++ % sizes.length]) {
        pieces.push(text.slice(at, at + sizes[i % sizes.length]));
      }
      const whole = wrap([text]);
      expect(wrap(pieces)).toBe(whole);
      const kept = whole.replaceAll('| ', '').replaceAll('|', '').replaceAll(/\s/g, '');
      expect(kept).toBe(text.replaceAll(/\s/g, ''));
    }),
  );
});

test('bytes in units for people', () => {
  expect([0, 999, 1000, 98362432, 2.5e12].map(formatBytes)).toEqual(['0 B', '999 B', '1.0 kB', '98.4 MB', '2.5 TB']);
});

test('a curve has one bar a value, from 0 to its top', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 7)).toBe('▁▂▃▄▅▆▇█');
  expect(sparkline([1, 2], 4)).toBe('▃▅');
  expect(sparkline([9, -1], 4)).toBe('█▁');
  expect(sparkline([0, 0], 0)).toBe('▁▁');
});

test('progress of which there is none to show leaves no line, on a terminal either', () => {
  const write = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
  const { isTTY } = process.stderr;
  process.stderr.isTTY = true;
  try {
    new ProgressDisplay().stop();
    expect(write).not.toHaveBeenCalled();
  } finally {
    process.stderr.isTTY = isTTY;
    write.mockRestore();
  }
});
