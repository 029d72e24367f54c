import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { whyNoExecutor } from './executor';
import { temporaryFolder } from './temporary';

const folder = temporaryFolder();

test('the library on the executor is used where the last build made it, otherwise it is said why not', () => {
  expect(whyNoExecutor(folder())).toContain('is not there');
  mkdirSync(join(folder(), 'tests', 'library'), { recursive: true });
  writeFileSync(join(folder(), 'tests', 'library', 'libforetoken_cuda.so'), '');
  for (const [tests, why] of [
    ['OFF', expect.stringContaining('earlier build')],
    ['ON', undefined],
  ] as const) {
    writeFileSync(join(folder(), 'settings.txt'), `/root\nv20\nFORETOKEN_TESTS=${tests}\nFORETOKEN_CUDA=OFF`);
    expect(whyNoExecutor(folder())).toEqual(why);
  }
});
