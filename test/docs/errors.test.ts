import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');
/** In capitals too, but no errors: types of tensors, and an error of Node's. */
const others = /^(I?Q\d|TQ\d|F8_|ERR_)/;

function filesUnder(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(cc|h|cu|cuh|ts)$/.test(name))
    .map((name) => join(root, folder, name));
}

test('every code that is thrown is explained, and no other', () => {
  const thrown = new Set(['ABORTED']);
  for (const file of ['native', 'lib', 'cuda'].flatMap(filesUnder)) {
    const source = readFileSync(file, 'utf8');
    for (const [, code] of source.matchAll(/["']([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)["']/g))
      if (!others.test(code)) thrown.add(code);
    for (const [, code] of source.matchAll(/(?:Error|refuse)\(["']([A-Z]+)["']/g)) thrown.add(code);
  }
  const text = readFileSync(join(root, 'docs', 'errors.md'), 'utf8');
  const explained = Array.from(text.matchAll(/`([A-Z][A-Z0-9_]+)`/g), ([, code]) => code);
  expect(explained.sort()).toEqual([...thrown].sort());
});
