import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { packageRoot } from '../../lib/binding';
import { makeTemporaryFolder } from '../../lib/models/cache';
import { withLock } from '../../lib/models/lock';
import { deadProcess } from '../support/dead-process';
import { asNobody } from '../support/read-only';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const lock = () => join(folder(), 'lock');
const elsewhere = deadProcess.replace(/^[^-]+/, '0123456789abcdef');

/** A lock that somebody holds; who wrote it so many milliseconds ago. */
function heldBy(name: string, age = 0): void {
  const file = join(lock(), 'theirs');
  mkdirSync(lock(), { recursive: true });
  writeFileSync(file, name);
  const then = new Date(Date.now() - age);
  utimesSync(file, then, then);
}

/** Lets so many milliseconds pass, by the clock that is nobody's to set, from one look at who holds a lock to the next. */
function lookEvery(milliseconds: number, onLook: (look: number) => void = () => undefined): void {
  let looks = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => {
    onLook(++looks);
    return looks * milliseconds;
  });
}

afterEach(() => jest.restoreAllMocks());

const isFree = (): Promise<boolean> =>
  withLock(lock(), () => Promise.resolve(true), AbortSignal.timeout(500)).catch(() => false);

test('is held by one at a time and gone afterwards', async () => {
  let inside = 0;
  const work = async (): Promise<void> => {
    expect(++inside).toBe(1);
    await new Promise(setImmediate);
    inside -= 1;
  };
  await Promise.all([1, 2, 3, 4].map(() => withLock(lock(), work)));
  expect(readdirSync(folder())).toEqual([]);
});

test('is taken over from a process that died', async () => {
  heldBy(deadProcess);
  expect(await isFree()).toBe(true);
});

test('is taken over from a worker that was ended, while its process goes on', async () => {
  const built = join(packageRoot(), 'dist', 'models', 'lock.js');
  const script = `
    const { withLock } = require(${JSON.stringify(built)});
    const { parentPort } = require('node:worker_threads');
    withLock(${JSON.stringify(lock())}, () => new Promise(() => parentPort.on('message', () => {}).postMessage('held')));`;
  const worker = new Worker(script, { eval: true });
  await once(worker, 'message');
  expect(await isFree()).toBe(false);
  await worker.terminate();
  expect(await isFree()).toBe(true);
});

test('a dead one that may not be removed is told, not waited for', async () => {
  heldBy(deadProcess);
  chmodSync(folder(), 0o777);
  chmodSync(lock(), 0o555);
  const error = await asNobody(() => withLock(lock(), () => Promise.resolve(), AbortSignal.timeout(500))).catch(
    (thrown: unknown) => thrown,
  );
  chmodSync(lock(), 0o755);
  expect(error).toMatchObject({ code: 'WRITE_FAILED', message: expect.stringContaining('EACCES') as string });
  expect(readdirSync(folder())).toEqual(['lock']);
});

test('one that may not be looked into is told, not waited for', async () => {
  heldBy(elsewhere);
  chmodSync(folder(), 0o777);
  chmodSync(lock(), 0o300);
  const waiting = asNobody(() => withLock(lock(), () => Promise.resolve(), AbortSignal.timeout(500)));
  const error = await waiting.catch((thrown: unknown) => thrown);
  chmodSync(lock(), 0o755);
  const message = expect.stringMatching(/EACCES.*writable, or choose another folder/) as string;
  expect(error).toMatchObject({ code: 'WRITE_FAILED', message });
  expect(readdirSync(folder())).toEqual(['lock']);
});

test('is not taken from another container, whose process ids mean nothing here', async () => {
  heldBy(elsewhere);
  expect(await isFree()).toBe(false);
  expect(existsSync(join(lock(), 'theirs'))).toBe(true);
});

test('is not taken from another container, whatever time its file is of: clocks leap', async () => {
  heldBy(elsewhere, 3600_000);
  expect(await isFree()).toBe(false);
  heldBy(elsewhere, -3600_000);
  expect(await isFree()).toBe(false);
});

test('is taken over from another container that has not been heard of in a minute of waiting', async () => {
  heldBy(elsewhere);
  lookEvery(20_001);
  const heldAt = await withLock(lock(), () => Promise.resolve(performance.now()));
  expect(heldAt).toBe(5 * 20_001); // looked at four times before
});

test('is waited for as long as its holder goes on writing, whatever the time it writes at', async () => {
  heldBy(elsewhere);
  const waiting = new AbortController();
  lookEvery(59_000, (look) => {
    heldBy(elsewhere, look * 60_000);
    if (look === 6) waiting.abort();
  });
  await expect(withLock(lock(), () => Promise.resolve(), waiting.signal)).rejects.toMatchObject({ name: 'AbortError' });
});

test('who has lost it leaves it to whom it belongs now', async () => {
  await withLock(lock(), () => {
    rmSync(lock(), { recursive: true });
    heldBy(elsewhere);
    return Promise.resolve();
  });
  expect(readdirSync(lock())).toEqual(['theirs']);
});

test("half-done work of another container stays, until it is a day old; that of this one's dead goes", async () => {
  const folders = [`tmp-${elsewhere}-00000000`, `tmp-${elsewhere}-00000001`, `tmp-${deadProcess}-00000002`];
  for (const name of folders) mkdirSync(join(folder(), name));
  const yesterday = new Date(Date.now() - 25 * 3600 * 1000);
  utimesSync(join(folder(), folders[1]), yesterday, yesterday);
  await makeTemporaryFolder(folder());
  expect(folders.filter((name) => existsSync(join(folder(), name)))).toEqual([folders[0]]);
});

test('half-done work of the dead that may not be removed stays in its place and keeps nobody from working', async () => {
  const [theirs, after] = [0, 1].map((n) => join(folder(), `tmp-${deadProcess}-0000000${n}`));
  mkdirSync(theirs);
  writeFileSync(join(theirs, 'file'), '');
  mkdirSync(after);
  chmodSync(folder(), 0o777);
  chmodSync(theirs, 0o555);
  const work = () => withLock(lock(), () => Promise.resolve('done'));
  const result = await asNobody(work).finally(() => chmodSync(theirs, 0o755));
  expect(result).toBe('done');
  expect(readdirSync(folder())).toEqual([`tmp-${deadProcess}-00000000`]);
});
