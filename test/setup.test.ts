import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-setup-'));
  for (const tool of ['cmake', 'make', 'g++', 'python3']) pretend(tool, tool);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A program that prints a version and nothing else. */
function pretend(tool: string, version: string): void {
  writeFileSync(join(folder, tool), `#!/bin/sh\necho '${version}'\n`, { mode: 0o755 });
}

/** What the check of tools says where there are no others than those of the folder. */
function check(env: NodeJS.ProcessEnv = {}): string {
  const script = join(__dirname, '..', 'scripts', 'setup.js');
  const code = `require(${JSON.stringify(script)}).checkTools()`;
  const { stderr } = spawnSync(process.execPath, ['-e', code], { env: { PATH: folder, ...env }, encoding: 'utf8' });
  return stderr;
}

const foundation = 'Free Software Foundation, Inc.';

test('a g++ that is too old is named before anything is built', () => {
  pretend('c++', `c++ (Debian 10.2.1-6) 10.2.1 20210110 ${foundation}`);
  expect(check()).toContain('foretoken needs g++ 11 or newer; this is g++ 10.');
  pretend('c++', `c++ (Ubuntu 9.4.0-1ubuntu1~20.04.2) 9.4.0 ${foundation}`);
  expect(check()).toContain('this is g++ 9.');
  pretend('g++-12', `g++-12 (Debian 12.2.0-14) 12.2.0 ${foundation}`);
  expect(check({ CXX: 'g++-12' })).toBe('');
});

test('newer ones and other compilers are left to CMake', () => {
  for (const version of [`c++ (GCC) 11.1.0 ${foundation}`, 'Debian clang version 9.0.1-16', '']) {
    pretend('c++', version);
    expect(check()).toBe('');
  }
});
