import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runSuite, type Flags } from '../../bench/main';

const folder = mkdtempSync(join(tmpdir(), 'foretoken-bench-'));
/** As commander hands them over; there is no such model. */
const flags: Flags = { model: join(folder, 'none.gguf'), threads: '1', repeats: '1', acceptance: '2.65' };

beforeAll(() => jest.spyOn(process.stderr, 'write').mockReturnValue(true));
afterAll(() => {
  jest.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

function readReport(file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
}

test('a suite that needs no model opens none', async () => {
  await runSuite('roofline', flags);
  const json = join(folder, 'roofline.json');
  await runSuite('roofline', { ...flags, json });
  expect(readReport(json)).toMatchObject({ suite: 'roofline', model: '', modelHash: '' });
});

test.each(['spec', 'learn', 'drift', 'load', 'rl'])('%s takes one weight format, and says so first', async (suite) => {
  const run = runSuite(suite, { ...flags, weights: 'auto,fp8' });
  await expect(run).rejects.toThrow(`bench ${suite} takes one weight format, not 2: --weights auto,fp8`);
  await expect(runSuite(suite, { ...flags, weights: 'fp8' })).rejects.toThrow('--data DIR'); // the next thing that is missing
});

test('the folder of a report is made before anything runs, and a report that is there stays until then', async () => {
  const json = join(folder, 'new', 'folder', 'spec.json');
  await expect(runSuite('spec', { ...flags, json })).rejects.toThrow('--data DIR');
  expect(existsSync(join(folder, 'new', 'folder'))).toBe(true);
  expect(existsSync(json)).toBe(false);
  writeFileSync(json, '{ "suite": "before" }');
  await expect(runSuite('spec', { ...flags, json })).rejects.toThrow('--data DIR');
  expect(readReport(json)).toEqual({ suite: 'before' });
});

test('where no report can be written nothing runs', async () => {
  await expect(runSuite('spec', { ...flags, json: folder })).rejects.toThrow(folder);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await expect(runSuite('spec', { ...flags, json: join(file, 'spec.json') })).rejects.toThrow(file);
});

test.each([
  [{ limit: 'x' }, "--limit takes a number from 0 on, not 'x'"],
  [{ repeats: '0' }, "--repeats takes a number from 1 on, not '0'"],
  [{ threads: '' }, "--threads takes a number from 0 on, not ''"],
  [{ acceptance: '-1' }, "--acceptance takes a number from 1 on, not '-1'"],
])('numbers are checked before anything runs: %j', async (wrong, message) => {
  await expect(runSuite('roofline', { ...flags, ...wrong })).rejects.toThrow(message);
});
