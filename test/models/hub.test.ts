import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { loadBinding } from '../../lib/binding';
import { checkLoadOptions } from '../../lib/engine/load-options';
import { openModel } from '../../lib/engine/model-source';
import { parseHubRef } from '../../lib/models/hub';
import { HubClient } from '../../lib/models/hub-client';
import type { Progress } from '../../lib/models/progress';
import { resolveModel } from '../../lib/models/resolve';
import { logOfDisk } from '../support/disk-log';
import { HubServer, type HubServerFile } from '../support/hub-server';
import { whileReadOnly } from '../support/read-only';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const cache = () => join(folder(), 'cache');
const resolve = (ref: string, options = {}) => {
  const onProgress = (progress: Progress): void => server.onProgress(progress);
  return resolveModel(ref, { cache: cache(), onProgress, ...options });
};
const weights = randomBytes(400_000);
const sha256 = createHash('sha256').update(weights).digest('hex');
const small = (path: string, text: string): HubServerFile => ({ path, data: Buffer.from(text) });
const gguf: HubServerFile = { path: 'one file.gguf', data: weights, lfs: true };

let server: HubServer;
const environment = { HF_ENDPOINT: process.env.HF_ENDPOINT, HF_TOKEN: process.env.HF_TOKEN };

beforeEach(async () => {
  server = new HubServer();
  await server.start();
  process.env.HF_ENDPOINT = server.endpoint;
  delete process.env.HF_TOKEN;
  server.repositories.set('someone/gguf', [small('README.md', 'hello'), gguf]);
});

afterEach(async () => {
  jest.restoreAllMocks();
  await server.stop();
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

const toCdn = () => server.requests.filter((request) => request.server === 'cdn');
/** The partial file of a download that was cut off. */
const partialFile = () => join(cache(), 'hub', 'someone--gguf', server.commit, 'one file.gguf.incomplete');

function leavePartial(data: Buffer, etag?: string): void {
  mkdirSync(dirname(partialFile()), { recursive: true });
  writeFileSync(partialFile(), data);
  if (etag) writeFileSync(`${partialFile()}.etag`, etag);
}

test('references', () => {
  expect(parseHubRef('a/b')).toEqual({ name: 'a/b', file: undefined, revision: 'main' });
  expect(parseHubRef('hf:a/b.c-1:sub/x.gguf@refs/pr/7')).toEqual({
    name: 'a/b.c-1',
    file: 'sub/x.gguf',
    revision: 'refs/pr/7',
  });
  expect(parseHubRef('a/b@v1.0')).toEqual({ name: 'a/b', file: undefined, revision: 'v1.0' });
  for (const ref of ['a', 'a/b/c', '../b', 'a/..', '/a/b', 'a/b:', 'a/b@', ''])
    expect(parseHubRef(ref)).toBeUndefined();
});

test('downloads the only GGUF file of a repository, and not again', async () => {
  const seen: Progress[] = [];
  const model = await resolve('someone/gguf', { onProgress: (progress: Progress) => seen.push(progress) });
  expect(model).toEqual({ kind: 'gguf', path: partialFile().replace('.incomplete', ''), sha256 });
  expect(readFileSync(model.path).equals(weights)).toBe(true);
  expect(readdirSync(dirname(model.path))).toEqual(['one file.gguf']);
  const last = {
    file: 'one file.gguf',
    done: weights.length,
    total: weights.length,
  };
  expect(seen).toContainEqual({ stage: 'download', ...last });
  expect(seen.at(-1)).toEqual({ stage: 'verify', ...last });
  await resolve('hf:someone/gguf:one file.gguf');
  expect(toCdn()).toHaveLength(1);
});

test('a file is on the disk before it has its name', async () => {
  const log = logOfDisk();
  await resolve('someone/gguf');
  const named = log.indexOf('rename one file.gguf.incomplete one file.gguf');
  expect(log[named - 1]).toBe('sync one file.gguf.incomplete');
});

test('a commit that was downloaded needs no network', async () => {
  await resolve(`someone/gguf@${server.commit}`);
  const before = server.requests.length;
  await resolve(`someone/gguf@${server.commit}`);
  expect(server.requests).toHaveLength(before);
});

test('several at once download once', async () => {
  await Promise.all([resolve('someone/gguf'), resolve('someone/gguf'), resolve('someone/gguf')]);
  expect(toCdn()).toHaveLength(1);
});

test('goes on where a connection was cut', async () => {
  server.cutAfter = [100_000, 150_000];
  const model = await resolve('someone/gguf');
  expect(readFileSync(model.path).equals(weights)).toBe(true);
  expect(toCdn().map(({ range, ifRange }) => [range, ifRange])).toEqual([
    [undefined, undefined],
    ['bytes=100000-', '"one"'],
    ['bytes=250000-', '"one"'],
  ]);
});

test('goes on where an earlier process stopped', async () => {
  leavePartial(weights.subarray(0, 123_456), '"one"');
  const model = await resolve('someone/gguf');
  expect(readFileSync(model.path).equals(weights)).toBe(true);
  expect(toCdn().map(({ range }) => range)).toEqual(['bytes=123456-']);
});

test('starts afresh when the file has changed since, or the server can not go on', async () => {
  leavePartial(randomBytes(1000), '"another"');
  expect(readFileSync((await resolve('someone/gguf')).path).equals(weights)).toBe(true);
  server.fault = 'no-ranges';
  server.repositories.set('someone/gguf', [{ ...gguf, path: 'two.gguf' }]);
  server.cutAfter = [1000];
  expect(readFileSync((await resolve('someone/gguf')).path).equals(weights)).toBe(true);
});

test('gives up on a connection that is cut again and again, keeping what came', async () => {
  server.cutAfter = [5000, 0, 0, 0, 0, 0, 0];
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
  expect(readFileSync(partialFile()).equals(weights.subarray(0, 5000))).toBe(true);
});

test('a disk that is full is told as that, at once, and not as a lost connection', async () => {
  mkdirSync(dirname(partialFile()), { recursive: true });
  symlinkSync('/dev/full', partialFile());
  const full = { code: 'WRITE_FAILED', message: expect.stringMatching(/one file.gguf.incomplete.*ENOSPC/) as string };
  await expect(resolve('someone/gguf')).rejects.toMatchObject(full);
  expect(toCdn()).toHaveLength(1);
});

test.each([
  ['a folder that can not be made', () => dirname(partialFile()), /EEXIST/],
  ['a file that can not be opened', partialFile, /EISDIR/],
])('%s is told with its path and what helps', async (_, path, why) => {
  mkdirSync(dirname(path()), { recursive: true });
  if (path === partialFile) mkdirSync(path());
  else writeFileSync(path(), '');
  const error: unknown = await resolve('someone/gguf').catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'WRITE_FAILED', file: path() });
  for (const part of [path(), why, 'FORETOKEN_HOME']) expect((error as Error).message).toMatch(part);
});

test('refuses a file with another checksum, keeps none of it, and can try again', async () => {
  server.fault = 'damage';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'DOWNLOAD_CORRUPT' });
  expect(existsSync(partialFile())).toBe(false);
  server.repositories.set('someone/small', [small('config.json', '{"a": 1}'), small('model.safetensors', 'weights')]);
  await expect(resolve('someone/small')).rejects.toMatchObject({ code: 'DOWNLOAD_CORRUPT' });
  server.fault = 'none';
  expect(readFileSync((await resolve('someone/gguf')).path).equals(weights)).toBe(true);
});

test('a damaged rest of a partial file is found out too', async () => {
  leavePartial(randomBytes(1000), '"one"');
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'DOWNLOAD_CORRUPT' });
  expect(readFileSync((await resolve('someone/gguf')).path).equals(weights)).toBe(true);
});

test('can be cancelled, and goes on later', async () => {
  const controller = new AbortController();
  const onProgress = ({ done }: Progress) => done > 0 && controller.abort();
  await expect(resolve('someone/gguf', { onProgress, signal: controller.signal })).rejects.toMatchObject({
    name: 'AbortError',
  });
  expect(existsSync(partialFile())).toBe(true);
  expect(readFileSync((await resolve('someone/gguf')).path).equals(weights)).toBe(true);
});

test('what onProgress of loading throws ends a download, which goes on later', async () => {
  const enough = new Error('enough');
  const onProgress = jest.fn(() => {
    throw enough;
  });
  const options = checkLoadOptions({ cacheFolder: cache(), onProgress });
  await expect(openModel('someone/gguf', options, loadBinding())).rejects.toBe(enough);
  expect(onProgress).toHaveBeenCalledTimes(1);
  expect(toCdn()).toHaveLength(1);
  expect(existsSync(partialFile())).toBe(true);
  expect(readFileSync((await resolve('someone/gguf')).path).equals(weights)).toBe(true);
});

test('sends the token to the hub and to nobody else', async () => {
  server.token = 'secret of this server';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
  process.env.HF_TOKEN = server.token;
  server.requests.length = 0;
  await resolve('someone/gguf');
  const sent = server.requests.map(({ server: to, authorization }) => [to, authorization]);
  expect(sent).toContainEqual(['cdn', undefined]);
  expect(sent.filter(([to]) => to === 'hub').every(([, each]) => each === `Bearer ${server.token}`)).toBe(true);
  expect(sent.filter(([to]) => to === 'cdn').every(([, each]) => each === undefined)).toBe(true);
});

test('says what the hub refused', async () => {
  await expect(resolve('someone/nothing')).rejects.toMatchObject({ code: 'HUB_NOT_FOUND' });
  await expect(resolve('someone/gguf:other.gguf')).rejects.toMatchObject({ code: 'HUB_NOT_FOUND' });
  await expect(resolve('someone/gguf@v2')).rejects.toMatchObject({ code: 'HUB_NOT_FOUND' });
  server.fault = 'forbidden';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_FORBIDDEN' });
  server.fault = 'portal';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_ERROR' });
  server.fault = 'unavailable';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
});

test('knows within 5 s that nobody answers', async () => {
  const start = performance.now();
  server.fault = 'silent';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
  const closed = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => closed.once('listening', done));
  process.env.HF_ENDPOINT = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`;
  await new Promise((done) => closed.close(done));
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
  process.env.HF_ENDPOINT = 'http://no-such-host.invalid';
  await expect(resolve('someone/gguf')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
  expect(performance.now() - start).toBeLessThan(15_000);
});

test('a proxy that Node.js may leave aside is named where the hub can not be reached', async () => {
  const unreachable = async (environment: NodeJS.ProcessEnv): Promise<unknown> => {
    const client = new HubClient({ HF_ENDPOINT: 'http://no-such-host.invalid', ...environment });
    return client.commit('a/b', 'main').catch((error: unknown) => error);
  };
  const told = { code: 'HUB_UNREACHABLE', message: expect.stringContaining('NODE_USE_ENV_PROXY=1') as string };
  expect(await unreachable({ HTTPS_PROXY: 'http://proxy:3128' })).toMatchObject(told);
  expect(await unreachable({ https_proxy: 'http://proxy:3128' })).toMatchObject(told);
  expect(await unreachable({})).toMatchObject({ message: expect.not.stringContaining('PROXY') as string });
});

test('uses what is there when the hub can not be reached', async () => {
  const model = await resolve('someone/gguf');
  process.env.HF_ENDPOINT = 'http://no-such-host.invalid';
  expect(await resolve('someone/gguf')).toEqual(model);
  await expect(resolve('someone/gguf@other')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
});

test('uses what is there when the folder can not be written, also when there is something newer', async () => {
  const before = await resolve('someone/gguf');
  const seen: Progress[] = [];
  const onProgress = (progress: Progress) => seen.push(progress);
  await whileReadOnly(cache(), async () => {
    expect(await resolve('someone/gguf', { onProgress })).toEqual(before);
    expect(seen).toEqual([]);
    server.commit = 'f'.repeat(40);
    expect(await resolve('someone/gguf', { onProgress })).toEqual(before);
    const stage = expect.stringMatching(
      /^an older someone\/gguf is used, for that of fffffff can't be kept: .*EACCES/,
    ) as string;
    expect(seen).toEqual([{ stage, done: 0, total: 0 }]);
    await expect(resolve('someone/gguf:other.gguf')).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  });
});

test('lists the GGUF files to choose from', async () => {
  server.repositories.set('someone/many', [
    { path: 'a.gguf', data: weights, lfs: true },
    { path: 'q8/b.gguf', data: Buffer.from('GGUF'), lfs: true },
  ]);
  await expect(resolve('someone/many')).rejects.toMatchObject({
    code: 'MODEL_AMBIGUOUS',
    message: expect.stringContaining('someone/many:q8/b.gguf'),
  });
  const model = await resolve('someone/many:q8/b.gguf');
  expect(readFileSync(model.path, 'latin1')).toBe('GGUF');
  server.repositories.set('someone/none', [small('README.md', 'hello')]);
  await expect(resolve('someone/none')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
});

test('downloads a safetensors folder: what its index names and what goes with it', async () => {
  const index = { weight_map: { 'a.weight': 'model-1.safetensors', 'b.weight': 'model-2.safetensors' } };
  server.repositories.set('someone/folder', [
    small('config.json', '{"model_type": "llama"}'),
    small('tokenizer.json', '{"model": {}}'),
    small('chat_template.jinja', ''),
    small('additional_chat_templates/tool_use.jinja', '{{ tools }}'),
    small('additional_chat_templates/rag.jinja', '{{ documents }}'),
    small('model.safetensors.index.json', JSON.stringify(index)),
    { path: 'model-1.safetensors', data: weights, lfs: true },
    { path: 'model-2.safetensors', data: weights.subarray(0, 1000), lfs: true },
    { path: 'consolidated.safetensors', data: weights, lfs: true },
    { path: 'onnx/model.onnx', data: weights, lfs: true },
    { path: '../outside', data: weights },
  ]);
  const model = await resolve('someone/folder');
  expect(model.kind).toBe('safetensors');
  expect(readdirSync(model.path).sort()).toEqual([
    'additional_chat_templates',
    'chat_template.jinja',
    'config.json',
    'model-1.safetensors',
    'model-2.safetensors',
    'model.safetensors.index.json',
    'tokenizer.json',
  ]);
  expect(readFileSync(join(model.path, 'model-2.safetensors')).equals(weights.subarray(0, 1000))).toBe(true);
  expect(readdirSync(join(model.path, 'additional_chat_templates'))).toEqual(['tool_use.jinja']);
});

test.each([
  ['UNSUPPORTED_ARCHITECTURE', "'gemma3' of someone/folder", 'gemma3', 'tokenizer.json'],
  ['MODEL_INCOMPLETE', 'no tokenizer.json', 'llama', 'tokenizer.model'],
])(
  'what small files show to be of no use is refused before weights are fetched: %s',
  async (code, why, type, tokenizer) => {
    server.repositories.set('someone/folder', [
      small('config.json', JSON.stringify({ model_type: type })),
      small(tokenizer, '{"model": {}}'),
      { path: 'model.safetensors', data: weights, lfs: true },
    ]);
    const refused = { code, message: expect.stringContaining(why) as string };
    await expect(resolve('someone/folder')).rejects.toMatchObject(refused);
    expect(toCdn()).toEqual([]);
  },
);

describe('local models', () => {
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(folder(), path)), { recursive: true });
    writeFileSync(join(folder(), path), text);
    return join(folder(), path);
  };

  test('a GGUF file, known by what it starts with', async () => {
    const path = put('model.gguf', 'GGUF...');
    expect(await resolve(path)).toEqual({ kind: 'gguf', path });
    expect(await resolve(put('blob', 'GGUF...'))).toMatchObject({ kind: 'gguf' });
    await expect(resolve(put('other.gguf', 'PK'))).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  });

  test('a folder', async () => {
    const config = put('hf/config.json', '{}');
    await expect(resolve(dirname(config))).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    const file = put('hf/model.safetensors', '');
    expect(await resolve(dirname(config))).toEqual({ kind: 'safetensors', path: dirname(config) });
    expect(await resolve(file)).toEqual({ kind: 'safetensors', path: dirname(config) });
    const only = put('gguf/a.gguf', 'GGUF');
    expect(await resolve(dirname(only))).toEqual({ kind: 'gguf', path: only });
    put('gguf/b.gguf', 'GGUF');
    await expect(resolve(dirname(only))).rejects.toMatchObject({ code: 'MODEL_AMBIGUOUS' });
  });

  test('what is nowhere is not asked of the hub when it can not be a repository', async () => {
    for (const ref of ['./nothing', '/no/where.gguf', 'nothing', 'models/nothing.gguf', 'a/b/c']) {
      await expect(resolve(ref)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    }
    expect(server.requests).toEqual([]);
  });
});
