import { resolve } from 'node:path';
import { checkLoadOptions } from '../../lib/engine/load-options';

test('a cache folder is found from where the process was when it was named', () => {
  expect(checkLoadOptions({ cacheFolder: 'cache' }).cacheFolder).toBe(resolve('cache'));
  expect(checkLoadOptions({ cacheFolder: '' }).cacheFolder).toBeUndefined();
});

test('what onProgress throws is kept for who looks, and aborts; it is called no more', () => {
  const enough = new Error('enough');
  const listener = jest.fn(() => {
    throw enough;
  });
  const { signal, onProgress, throwIfEnded } = checkLoadOptions({ onProgress: listener });
  throwIfEnded();
  for (let done = 0; done < 3; ++done) onProgress({ stage: 'download', done, total: 3 });
  expect(listener).toHaveBeenCalledTimes(1);
  expect(signal.aborted).toBe(true);
  expect(throwIfEnded).toThrow(enough);
});

test('the signal of who loads aborts too', () => {
  const abort = new AbortController();
  const { signal, throwIfEnded } = checkLoadOptions({ signal: abort.signal });
  throwIfEnded();
  abort.abort();
  expect(signal.aborted).toBe(true);
  expect(throwIfEnded).toThrow(expect.objectContaining({ code: 'ABORTED' }));
});
