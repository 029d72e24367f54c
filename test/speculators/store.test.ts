import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import fs, { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tenantsOf } from '../../lib/speculators/head-file';
import { readMemory } from '../../lib/speculators/memory';
import type { Memory } from '../../lib/speculators/memory';
import { keptVersions, SpeculatorStore, storedModels } from '../../lib/speculators/store';
import type { HeadVersion } from '../../lib/speculators/manifest';
import { logOfDisk } from '../support/disk-log';
import { whileReadOnly } from '../support/read-only';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const model = '0123456789abcdef'.repeat(2);
const store = (): SpeculatorStore => new SpeculatorStore(folder(), model);

afterEach(() => jest.restoreAllMocks());

function promote(tenant: string, payload: string, tenants = [tenant]): Promise<HeadVersion> {
  const write = (path: string): Promise<void> => writeFile(path, payload);
  return store().promote(tenant, { origin: 'learned', tenants, evidence: { gain: 0.05, from: payload }, write });
}

async function liveText(tenant: string): Promise<string | undefined> {
  const path = await store().headPath(tenant);
  return path && readFileSync(path, 'utf8');
}

function filesOf(tenantsFolder: string): string[] {
  return readdirSync(tenantsFolder, { recursive: true })
    .map(String)
    .filter((name) => name.includes('.'))
    .sort();
}

test('a promoted head is the live one, with its evidence and what it came from', async () => {
  expect(await liveText('a')).toBeUndefined();
  await promote('a', 'one');
  const second = await promote('a', 'two');
  expect(second).toMatchObject({ version: 2, parent: 1, origin: 'learned', tenants: ['a'], evidence: { gain: 0.05 } });
  expect(await liveText('a')).toBe('two');
  expect(readFileSync((await store().headPath('a', 1))!, 'utf8')).toBe('one');
  expect(await storedModels(folder())).toEqual([model]);
});

test('rolling back goes to the parent, to a version, to the static head, and is kept with its reason', async () => {
  await promote('a', 'one');
  await promote('a', 'two');
  await promote('a', 'three');
  await store().rollBack('a', undefined, { loss: 0.1 });
  expect(await liveText('a')).toBe('two');
  expect((await store().manifest('a')).versions[2].rolledBack).toMatchObject({ evidence: { loss: 0.1 } });
  await store().rollBack('a', 3);
  expect(await liveText('a')).toBe('three');
  await store().rollBack('a', 0);
  expect(await liveText('a')).toBeUndefined();
  await expect(store().rollBack('a', 9)).rejects.toMatchObject({ code: 'NO_SUCH_VERSION' });
  await expect(store().headPath('a', 9)).rejects.toMatchObject({ code: 'NO_SUCH_VERSION' });
  const next = await promote('a', 'four');
  expect(next).toMatchObject({ version: 4, parent: 0 });
});

test('versions are bounded, and neither the live one nor its parent is dropped', async () => {
  await promote('a', 'first');
  for (let i = 0; i < keptVersions + 3; ++i) {
    await store().rollBack('a', 1);
    await promote('a', `child ${i}`);
  }
  const { versions, live } = await store().manifest('a');
  expect(versions).toHaveLength(keptVersions);
  expect(versions[0]).toMatchObject({ version: 1, file: 'head-1.safetensors' });
  expect(versions.at(-1)).toMatchObject({ version: live, parent: 1 });
  const heads = filesOf(folder()).filter((name) => name.includes('head-'));
  expect(heads).toHaveLength(keptVersions);
});

test('a memory is kept beside another one, each text once and the oldest first to go, or in place of the one it names', async () => {
  const memory = (...texts: number[][]): Memory => {
    const tokens = Int32Array.from(texts.flatMap((text) => [...text, -1]));
    return { tokens, keys: Uint8Array.from({ length: tokens.length * 16 }, (_, i) => tokens[i >> 4] + (i & 15)) };
  };
  const kept = (): Promise<Memory> => readMemory(store().memoryPath('a')!, model);
  expect(await store().memoryStamp('a')).toBe('');
  const first = await store().saveMemory('a', memory([1, 2], [3, 4, 5]));
  expect(first).toBe(await store().memoryStamp('a'));
  expect(await store().saveMemory('a', memory([6], [1, 2]))).toBeUndefined();
  expect(await kept()).toEqual(memory([3, 4, 5], [6], [1, 2]));
  const stamp = await store().saveMemory('a', memory([7]), await store().memoryStamp('a'));
  expect(await kept()).toEqual(memory([7]));
  await store().saveMemory('a', memory([8, 8]), first);
  expect(await kept()).toEqual(memory([7], [8, 8]));
  expect(await store().memoryStamp('a')).not.toBe(stamp);
  const long = new Array<number>(8 * 32768 - 4).fill(9);
  await store().saveMemory('a', memory(long));
  const { tokens } = await kept();
  expect(Buffer.from(tokens.buffer).equals(Buffer.from(memory([8, 8], long).tokens.buffer))).toBe(true);
});

test('what was kept and can not be read is not replaced; what is no memory is', async () => {
  const memory = { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) };
  await store().saveMemory('a', memory);
  const path = store().memoryPath('a')!;
  writeFileSync(path, 'cut');
  await store().saveMemory('a', memory);
  expect(await readMemory(path, model)).toEqual(memory);
  rmSync(path);
  mkdirSync(path);
  await expect(store().saveMemory('a', memory)).rejects.toMatchObject({ code: 'MEMORY_INVALID' });
});

test('what another process has removed is not written again by who has read it', async () => {
  const memory = { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) };
  const stamp = await store().saveMemory('a', memory);
  await store().forget('a');
  const refused = { code: 'FILE_NOT_FOUND', message: expect.stringContaining('by another process') as string };
  await expect(store().saveMemory('a', memory, stamp)).rejects.toMatchObject(refused);
  expect(store().memoryPath('a')).toBeUndefined();
});

test('forgetting a tenant drops its memory, its versions, and versions of others that it fed', async () => {
  const memory = { tokens: Int32Array.from([1, 2, -1]), keys: new Uint8Array(48) };
  await store().saveMemory('a', memory);
  await store().saveMemory('b', memory);
  await promote('a', 'of a');
  await promote('b', 'of b');
  await promote('b', 'of a and b', ['a', 'b']);
  await promote('b', 'learned from that');
  expect((await store().manifest('b')).versions.at(-1)!.tenants).toEqual(['a', 'b']);
  await store().forget('a');
  expect((await store().tenants()).map(({ tenant }) => tenant)).toEqual(['b']);
  expect(store().memoryPath('a')).toBeUndefined();
  expect(await liveText('b')).toBe('of b');
  expect((await store().manifest('b')).versions).toHaveLength(1);
  expect(await readMemory(store().memoryPath('b')!, model)).toEqual(memory);
  expect(filesOf(folder())).toHaveLength(3); // manifest, head and memory of b
});

test('what is forgotten is gone from the disk itself, and so are the heads of others that learned from it', async () => {
  await promote('a', 'of a');
  await promote('b', 'of a and b', ['a', 'b']);
  const log = logOfDisk();
  await store().forget('a');
  const [a, b] = ['a', 'b'].map((tenant) => createHash('sha256').update(tenant).digest('hex').slice(0, 32));
  const tail = log.slice(log.indexOf(`rename ${a} gone`) + 1).map((entry) => entry.replace(/(tmp-|json\.)\S+/g, '$1'));
  expect(tail).toEqual([
    'rm tmp-',
    `sync ${model}`,
    'sync manifest.json.',
    'rename manifest.json. manifest.json',
    `sync ${b}`,
    'rm head-1.safetensors',
    `sync ${b}`,
  ]);
});

test('where a removal can not be brought onto the disk, that is said, and it is tried again', async () => {
  await promote('a', 'of a');
  const failing = jest.spyOn(fs, 'open').mockRejectedValue(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }));
  const refused = { code: 'WRITE_FAILED', message: expect.stringContaining('EIO') as string };
  await expect(store().forget('a')).rejects.toMatchObject(refused);
  await expect(store().forget('a')).rejects.toMatchObject(refused);
  failing.mockRestore();
  await store().forget('a');
});

test('where nothing can be written, what was never kept is forgotten, and of what is kept that is said', async () => {
  await promote('b', 'of a and b', ['a', 'b']);
  await whileReadOnly(join(folder(), 'speculators'), async () => {
    await store().forget('c');
    await new SpeculatorStore(folder(), 'f'.repeat(32)).forget(undefined);
    for (const [tenant, whose] of [
      ['a', "tenant 'a'"],
      ['b', "tenant 'b'"],
      [undefined, 'all tenants'],
    ] as const) {
      const message = expect.stringContaining(`What is kept of ${whose} is still on disk`) as string;
      await expect(store().forget(tenant)).rejects.toMatchObject({ code: 'WRITE_FAILED', message });
    }
  });
  await store().forget('a');
  expect((await store().manifest('b')).versions).toEqual([]);
});

test('what a process left on its way is removed by the next change', async () => {
  await promote('a', 'one');
  const home = join(folder(), 'speculators', model);
  const [own] = readdirSync(home);
  writeFileSync(join(home, own, 'head-2.safetensors'), 'never promoted');
  writeFileSync(join(home, own, 'manifest.json.1234.tmp'), '{');
  await promote('a', 'two');
  expect(await liveText('a')).toBe('two');
  expect(readdirSync(join(home, own)).sort()).toEqual(['head-1.safetensors', 'head-2.safetensors', 'manifest.json']);
});

test('a head that could not be written changes nothing', async () => {
  await promote('a', 'one');
  const write = (): Promise<void> => Promise.reject(new Error('full'));
  const head = { origin: 'learned', tenants: ['a'], evidence: {}, write } as const;
  await expect(store().promote('a', head)).rejects.toThrow('full');
  expect(await liveText('a')).toBe('one');
});

test('two at a time promote one after the other', async () => {
  const versions = await Promise.all(['a', 'a', 'a', 'b'].map((tenant) => promote(tenant, tenant)));
  expect(
    versions
      .slice(0, 3)
      .map(({ version }) => version)
      .sort(),
  ).toEqual([1, 2, 3]);
  expect((await store().manifest('a')).versions.map(({ version }) => version)).toEqual([1, 2, 3]);
});

test.each([
  ['no JSON', '{'],
  ['of another format', '{"format": "other"}'],
  ['with a path for a file', manifest({ file: '../../../x' })],
  ['whose live version is missing', manifest({ version: 2 })],
  ['with nothing for a version', manifest({}).replace(/"versions":.*/, '"versions":[null]}')],
  ['with a tenant that has no name', manifest({ tenants: [5] })],
  ['with a version that was left nobody knows why', manifest({ rolledBack: { at: '' } })],
  ['with a version that was left at no time', manifest({ rolledBack: null })],
])('a manifest that is %s is refused', async (_, text) => {
  await promote('a', 'one');
  const home = join(folder(), 'speculators', model);
  writeFileSync(join(home, readdirSync(home)[0], 'manifest.json'), text);
  await expect(store().manifest('a')).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
});

test("a manifest that the system can't read now may be whole: nobody is told to remove it", async () => {
  await promote('a', 'one');
  const home = join(folder(), 'speculators', model);
  const path = join(home, readdirSync(home)[0], 'manifest.json');
  rmSync(path);
  mkdirSync(path);
  const error: unknown = await store()
    .manifest('a')
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'FILE_UNREADABLE', message: expect.not.stringContaining('Remove') as string });
});

function manifest(change: object): string {
  const version = { version: 1, parent: 0, file: 'head-1.safetensors', promoted: '', tenants: [], evidence: {} };
  const whole = { format: 'foretoken speculator 1', model, tenant: 'a', live: 1, next: 2 };
  return JSON.stringify({ ...whole, versions: [{ ...version, ...change }] });
}

test('who has no version can not leave one, and is not there afterwards either', async () => {
  await promote('a', 'one');
  await expect(store().rollBack('b')).rejects.toMatchObject({ code: 'NO_SUCH_VERSION' });
  await expect(store().rollBack('b', 0)).rejects.toMatchObject({ code: 'NO_SUCH_VERSION' });
  expect((await store().tenants()).map(({ tenant }) => tenant)).toEqual(['a']);
  expect(filesOf(folder())).toHaveLength(2);
});

/** A head as a file: a tensor of one number. */
function head(number: number): string {
  const tensor = { dtype: 'F8_E4M3', shape: [1], data_offsets: [0, 1] };
  const header = JSON.stringify({ __metadata__: { format: 'a head' }, weights: tensor });
  return `${String.fromCharCode(header.length)}${'\0'.repeat(7)}${header}${number}`;
}

test('where a copy can not be made, what was exported before stays, and nothing beside it', async () => {
  await promote('a', head(1));
  const path = join(folder(), 'out');
  await store().exportHead('a', path);
  const exported = readFileSync(path, 'utf8');
  const file = (await store().headPath('a'))!;
  for (const [code, spoil] of [
    ['HEAD_INVALID', () => writeFileSync(file, 'no head')],
    ['HEAD_INVALID', () => writeFileSync(file, head(1).slice(0, 20))],
    ['FILE_UNREADABLE', () => rmSync(file)],
  ] as const) {
    spoil();
    await expect(store().exportHead('a', path)).rejects.toMatchObject({ code, file });
  }
  expect(readFileSync(path, 'utf8')).toBe(exported);
  expect(readdirSync(folder()).sort()).toEqual(['out', 'speculators']);
});

test('engines that save meanwhile do not get in the way of a list', async () => {
  await promote('a', 'one');
  const home = join(folder(), 'speculators', model);
  const [before] = await store().tenants();
  symlinkSync('gone', join(home, readdirSync(home)[0], 'manifest.json.1-abc.tmp')); // there when the folder is read, and not when it is
  expect(await store().tenants()).toEqual([before]);
});

test('what goes back or is learned says from which version; the disk is left alone where another one is live', async () => {
  for (const text of ['one', 'two', 'three']) await promote('a', text);
  await store().rollBack('a', 1, {}, 2);
  expect((await store().manifest('a')).live).toBe(3);
  await store().rollBack('a', 1, {}, 3);
  expect((await store().manifest('a')).live).toBe(1);
  const write = (path: string): Promise<void> => writeFile(path, 'four');
  const learned = { origin: 'learned', tenants: ['a'], evidence: {}, write } as const;
  expect(await store().promote('a', { ...learned, parent: 2 })).toMatchObject({ version: 4, parent: 2 });
  expect(await store().promote('a', { ...learned, parent: 9 })).toMatchObject({ version: 5, parent: 0 });
});

test('a manifest that can not be written is an error with a code', async () => {
  await promote('a', 'one');
  const home = join(folder(), 'speculators', model);
  const place = join(home, readdirSync(home)[0], 'manifest.json');
  const write = async (path: string): Promise<void> => {
    await writeFile(path, 'two');
    rmSync(place);
    mkdirSync(join(place, 'in the way'), { recursive: true });
  };
  const head = { origin: 'learned', tenants: ['a'], evidence: {}, write } as const;
  await expect(store().promote('a', head)).rejects.toMatchObject({ code: 'WRITE_FAILED', file: place });
});

test('an export is a copy that names whose text it has learned from, and there is none of a tenant without a head', async () => {
  await promote('a', head(1), ['a', 'ä "b"\n']);
  await promote('a', head(2));
  const path = join(folder(), 'out');
  await store().exportHead('a', path, 1);
  const bytes = readFileSync(path);
  const end = 8 + Number(bytes.readBigUInt64LE());
  expect(end % 8).toBe(0);
  expect(bytes.toString('utf8', end)).toBe('1');
  const { __metadata__, weights } = JSON.parse(bytes.toString('utf8', 8, end));
  expect(__metadata__.format).toBe('a head');
  expect(weights.data_offsets).toEqual([0, 1]);
  expect(await tenantsOf(path)).toEqual(['a', 'ä "b"\n']);
  expect(await tenantsOf((await store().headPath('a'))!)).toEqual([]);
  await expect(store().exportHead('b', path)).rejects.toMatchObject({ code: 'NO_SUCH_VERSION' });
  await expect(store().exportHead('a', join(folder(), 'none', 'x'))).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  expect(existsSync(join(folder(), 'none'))).toBe(false);
});
