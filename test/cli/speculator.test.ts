import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBinding, packageRoot } from '../../lib/binding';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { SpeculatorStore } from '../../lib/speculators/store';
import { trainHead } from '../../lib/speculators/train-head';

const folder = mkdtempSync(join(tmpdir(), 'foretoken-speculator-'));
const tiny = join(folder, 'tiny.gguf');
let head = '';

beforeAll(async () => {
  writeTinyModel(tiny);
  const texts = Array.from({ length: 24 }, (_, i) => `one two three ${i} `.repeat(4));
  const options = {
    cacheFolder: join(folder, 'cache'),
    draftTokens: 64,
    slots: 3,
    rank: 4,
    rowsPerStep: 512,
    threads: 2,
  };
  head = (await trainHead(tiny, texts, folder, options)).path!;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { ...process.env, FORETOKEN_HOME: join(folder, 'home') };
  const main = join(packageRoot(), 'dist', 'cli', 'main.js');
  return spawnSync(process.execPath, [main, 'speculator', ...args], { env, encoding: 'utf8' });
}

const ofTenant = (name: string, ...more: string[]): string[] => ['--model', tiny, '--tenant', name, ...more];

test('heads are imported, shown, rolled back, exported and dropped', () => {
  expect(run('list').stdout).toBe('nothing is kept yet\n');
  expect(run('import', head, ...ofTenant('acme'))).toMatchObject({ status: 0, stderr: '' });
  const second = JSON.parse(run('import', head, ...ofTenant('acme', '--json')).stdout);
  expect(second).toMatchObject({
    version: 2,
    parent: 1,
    origin: 'imported',
    shape: { vocabulary: 64, slots: 3, rank: 4 },
  });
  expect(run('list').stdout).toMatch(/acme: version 2 of 2 kept, /);
  expect(run('show', ...ofTenant('acme')).stdout).toMatch(
    /drafts with version 2\n {2}1 {2}imported .*from the static head: file /,
  );
  expect(JSON.parse(run('rollback', ...ofTenant('acme', '--json')).stdout)).toMatchObject({ live: 1 });
  const again = JSON.parse(run('rollback', ...ofTenant('acme', '--to', '2', '--json')).stdout);
  expect(again).toMatchObject({ live: 2, versions: [{ version: 1 }, { version: 2 }] });
  expect(again.versions[1]).not.toHaveProperty('rolledBack');
  expect(run('rollback', ...ofTenant('acme', '--to', '0')).stdout).toMatch(/^acme drafts with the static head\n/);
  const copy = join(folder, 'copy.safetensors');
  expect(run('export', ...ofTenant('acme', '--out', copy, '--head', '2')).status).toBe(0);
  expect(run('export', ...ofTenant('acme', '--out', copy)).stderr).toContain('(NO_SUCH_VERSION)');
  const nowhere = join(folder, 'nowhere', 'copy.safetensors');
  expect(run('export', ...ofTenant('acme', '--out', nowhere, '--head', '2')).stderr).toContain('Make its folder');
  expect(run('rollback', ...ofTenant('acne'))).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('(NO_SUCH_VERSION)'),
  });
  expect(run('reset', ...ofTenant('acme')).status).toBe(0);
  expect(JSON.parse(run('list', '--json').stdout)).toEqual([]);
});

test('who imports the head of another tenant loses it when that one is forgotten', () => {
  const copy = join(folder, 'of a.safetensors');
  const versions = (tenant: string): { tenants: string[] }[] => {
    const { stdout } = run('show', ...ofTenant(tenant, '--json'));
    return (JSON.parse(stdout) as { versions: { tenants: string[] }[] }).versions;
  };
  expect(run('import', head, ...ofTenant('a')).status).toBe(0);
  expect(run('export', ...ofTenant('a', '--out', copy))).toMatchObject({ status: 0, stderr: '' });
  expect(run('import', copy, ...ofTenant('b'))).toMatchObject({ status: 0, stderr: '' });
  expect(run('export', ...ofTenant('b', '--out', copy)).status).toBe(0);
  expect(run('import', copy, ...ofTenant('c')).status).toBe(0);
  expect(versions('c')[0].tenants).toEqual(['a', 'b', 'c']);
  expect(run('reset', ...ofTenant('a')).status).toBe(0);
  expect([...versions('b'), ...versions('c')]).toEqual([]);
  for (const tenant of ['b', 'c']) run('reset', ...ofTenant(tenant));
});

test('a tenant that can not be is refused, and of one who taught nothing that is told', () => {
  for (const command of [['show'], ['reset'], ['rollback'], ['import', head]]) {
    const { status, stdout, stderr } = run(...command, ...ofTenant(''));
    expect({ status, stdout, stderr }).toEqual({ status: 1, stdout: '', stderr: expect.stringContaining('a name') });
  }
  expect(run('show', ...ofTenant('acne')).stdout).toBe('nothing is kept of acne\n');
});

test('text alone is listed without a head', async () => {
  const store = new SpeculatorStore(join(folder, 'home'), await loadBinding().hashModel(tiny));
  await store.saveMemory('writer', { tokens: Int32Array.from([1, -1]), keys: new Uint8Array(32) });
  expect(run('list').stdout).toMatch(/^[0-9a-f]{32} {2}writer: remembered text, .*B\n$/);
  expect(run('show', ...ofTenant('writer')).stdout).toBe('text of writer is remembered\n');
  await store.forget('writer');
});

test('the name of a tenant, which a client chose, has no power over the terminal', () => {
  const name = 'a\n\x1b[2J\x7f\x9bb é';
  const shown = 'a\\u000a\\u001b[2J\\u007f\\u009bb é';
  const lines = (...args: string[]): string[] => run(...args).stdout.split('\n');
  expect(lines('import', head, ...ofTenant(name))).toEqual([`${shown} drafts with version 1 from now on: ${head}`, '']);
  expect(lines('list')).toEqual([expect.stringContaining(`  ${shown}: version 1 of 1 kept, `), '']);
  expect(lines('show', ...ofTenant(name))[0]).toBe(`${shown} drafts with version 1`);
  const copy = join(folder, 'of whom.safetensors');
  expect(lines('export', ...ofTenant(name, '--out', copy))).toEqual([`${copy}: version 1 of ${shown}`, '']);
  expect(JSON.parse(run('list', '--json').stdout)).toMatchObject([{ tenant: name }]);
  expect(lines('reset', ...ofTenant(name))).toEqual([`nothing is kept of ${shown} any more`, '']);
});

test("another model's head, and what is no head, are refused with a code and change nothing", () => {
  const other = join(folder, 'other.gguf');
  writeTinyModel(other, { seed: 2 });
  const refused = run('import', head, '--model', other);
  expect(refused).toMatchObject({ status: 1, stdout: '' });
  expect(refused.stderr).toContain('(HEAD_MISMATCH)');
  expect(run('import', tiny, '--model', tiny).stderr).toMatch(/\([A-Z_]+\)/);
  expect(JSON.parse(run('list', '--json').stdout)).toEqual([]);
  expect(existsSync(join(folder, 'home', 'speculators'))).toBe(true);
});
