// Builds a release of the addon in a folder of its own and puts it into build/Release. Called by binding.gyp, whose
// own makefiles live in build/, and by gyp.js; `--clean` starts from nothing, and so does another generator than before.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const root = path.join(__dirname, '..');
const work = path.join(root, 'build-release');
const cuda = process.env.FORETOKEN_CUDA ?? 'AUTO';

/** Whether the folder was configured for ninja, which cmake-js chooses where it is, and it went, or the other way round. */
function generatorChanged() {
  const cache = path.join(work, 'CMakeCache.txt');
  if (!fs.existsSync(cache)) return false;
  const ninja = spawnSync('ninja', ['--version']).status === 0;
  return ninja !== fs.readFileSync(cache, 'utf8').includes('CMAKE_GENERATOR:INTERNAL=Ninja\n');
}

if (process.argv.includes('--clean') || generatorChanged()) fs.rmSync(work, { recursive: true, force: true });
const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
for (const command of ['configure', 'build']) {
  const args = [cmakeJs, command, '-O', work, '-p', String(os.availableParallelism()), `--CDFORETOKEN_CUDA=${cuda}`];
  const result = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: root });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const target = path.join(root, 'build', 'Release');
fs.mkdirSync(target, { recursive: true });
for (const file of fs.readdirSync(path.join(work, 'Release'))) {
  fs.copyFileSync(path.join(work, 'Release', file), path.join(target, file));
}
