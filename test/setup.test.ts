import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

describe('build/ is configured', () => {
  let clone: string;

  /** A clone whose cmake-js writes down whether it found a cache, and leaves one. */
  beforeEach(() => {
    clone = join(folder, 'clone');
    const bin = join(clone, 'node_modules', 'cmake-js', 'bin');
    for (const made of [bin, join(clone, 'scripts')]) mkdirSync(made, { recursive: true });
    copyFileSync(join(__dirname, '..', 'scripts', 'setup.js'), join(clone, 'scripts', 'setup.js'));
    const code = `
      const fs = require('node:fs');
      fs.appendFileSync('configured', fs.existsSync('build/CMakeCache.txt') ? 'again ' : 'anew ');
      fs.writeFileSync('build/CMakeCache.txt', '');`;
    writeFileSync(join(bin, 'cmake-js'), code);
  });

  /** Builds, and says how build/ was configured for it. */
  function configured(env: NodeJS.ProcessEnv = {}): string {
    const log = join(clone, 'configured');
    writeFileSync(log, '');
    const code = `require(${JSON.stringify(join(clone, 'scripts', 'setup.js'))}).buildNative()`;
    const { status } = spawnSync(process.execPath, ['-e', code], { env: { PATH: folder, ...env } });
    expect(status).toBe(0);
    return readFileSync(log, 'utf8').trim();
  }

  test('again when nvcc came, was renewed or chosen, or went', () => {
    expect(configured()).toBe('anew');
    expect(configured()).toBe('');
    pretend('nvcc', 'release 12.4');
    expect(configured()).toBe('again');
    expect(configured()).toBe('');
    pretend('nvcc', 'release 13.0');
    expect(configured()).toBe('again');
    const chosen = { CUDACXX: join(folder, 'nvcc') };
    expect(configured(chosen)).toBe('again');
    expect(configured(chosen)).toBe('');
    rmSync(join(folder, 'nvcc'));
    expect(configured()).toBe('again');
    expect(configured()).toBe('');
  });
});
