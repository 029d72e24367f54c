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

test('a build that is asked for what there is not says so', () => {
  const script = join(__dirname, '..', 'scripts', 'build.js');
  const { stderr, status } = spawnSync(process.execPath, [script, '--test'], { env: { PATH: '' }, encoding: 'utf8' });
  expect({ stderr, status }).toEqual({ stderr: expect.stringContaining('There is no --test'), status: 1 });
});

describe('native code is configured', () => {
  let clone: string;

  /** A clone whose cmake-js writes down whether it found a cache, leaves one that names the generator, and knows no CUDA. */
  beforeEach(() => {
    clone = join(folder, 'clone');
    const bin = join(clone, 'node_modules', 'cmake-js', 'bin');
    for (const made of [bin, join(clone, 'scripts')]) mkdirSync(made, { recursive: true });
    for (const script of ['setup.js', 'cmake.js']) {
      copyFileSync(join(__dirname, '..', 'scripts', script), join(clone, 'scripts', script));
    }
    const code = `
      const fs = require('node:fs');
      const [command, , build] = process.argv.slice(2);
      if (command !== 'configure') process.exit();
      fs.appendFileSync('configured', fs.existsSync(build + '/CMakeCache.txt') ? 'again' : 'anew');
      fs.mkdirSync(build + '/Release', { recursive: true });
      const generator = fs.existsSync(process.env.PATH + '/ninja') ? 'Ninja' : 'Unix Makefiles';
      fs.writeFileSync(build + '/CMakeCache.txt', 'CMAKE_GENERATOR:INTERNAL=' + generator + '\\n');
      if (process.env.FORETOKEN_CUDA === 'ON') process.exit(1);`;
    writeFileSync(join(bin, 'cmake-js'), code);
  });

  /** Runs a script's code in the clone, and says how the native code was configured for it. */
  function configuredBy(code: string, env: NodeJS.ProcessEnv, status = 0): string {
    const log = join(clone, 'configured');
    writeFileSync(log, '');
    const options = { cwd: join(clone, 'scripts'), env: { PATH: folder, ...env } };
    expect(spawnSync(process.execPath, ['-e', code], options).status).toBe(status);
    return readFileSync(log, 'utf8');
  }

  const build = "require('./setup').buildNative()";
  const configured = (env: NodeJS.ProcessEnv = {}) => configuredBy(build, env);

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
    mkdirSync(join(folder, 'cuda', 'bin'), { recursive: true });
    const beside = { CUDA_PATH: join(folder, 'cuda') };
    expect(configured(beside)).toBe('again');
    pretend('cuda/bin/nvcc', 'release 13.1');
    expect(configured(beside)).toBe('again');
    expect(configured(beside)).toBe('');
  });

  test('anew when ninja came or went, for CMake goes on with no other generator than before', () => {
    expect(configured()).toBe('anew');
    pretend('ninja', '1.11.1');
    expect(configured()).toBe('anew');
    expect(configured()).toBe('');
    expect(configured({ FORETOKEN_CUDA: 'OFF' })).toBe('again');
    rmSync(join(folder, 'ninja'));
    expect(configured()).toBe('anew');
    expect(configured()).toBe('');
  });

  test('once more after it failed, anew where it never was', () => {
    const fails = () => configuredBy(build, { FORETOKEN_CUDA: 'ON' }, 1);
    expect(fails()).toBe('anew');
    expect(configured()).toBe('anew');
    expect(fails()).toBe('again');
    expect(configured()).toBe('again');
    expect(configured()).toBe('');
    pretend('ninja', '1.11.1');
    expect(fails()).toBe('anew');
    rmSync(join(folder, 'ninja'));
    expect(configured()).toBe('anew');
  });

  test('anew for a release, too, when ninja came or went', () => {
    const release = () => configuredBy("require('./cmake')", {});
    expect(release()).toBe('anew');
    expect(release()).toBe('again');
    pretend('ninja', '1.11.1');
    expect(release()).toBe('anew');
    expect(release()).toBe('again');
    rmSync(join(folder, 'ninja'));
    expect(release()).toBe('anew');
  });
});
