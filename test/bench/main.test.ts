import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
