import { resolve } from 'node:path';
import { checkLoadOptions } from '../../lib/engine/load-options';

test('a cache folder is found from where the process was when it was named', () => {
  expect(checkLoadOptions({ cacheFolder: 'cache' }).cacheFolder).toBe(resolve('cache'));
  expect(checkLoadOptions({ cacheFolder: '' }).cacheFolder).toBeUndefined();
});
