// `npm run prebuild`: a clean release build, stripped, in prebuilds/<platform>-<arch>/: foretoken.node and, where nvcc
// is found, libforetoken_cuda.so beside it.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { SetupError, checkTools, installModules, root, runMain, step } = require('./setup');

const folder = path.join(root, 'prebuilds', `${process.platform}-${process.arch}`);

/** Prebuildify copies every shared library that lies in build/Release: nothing of an earlier build may be left there. */
function clear() {
  fs.rmSync(path.join(root, 'build', 'Release'), { recursive: true, force: true });
  fs.rmSync(folder, { recursive: true, force: true });
}

runMain(async () => {
  checkTools();
  await installModules();
  clear();
  const prebuildify = require.resolve('prebuildify/bin', { paths: [root] });
  // Node-API is stable across Node versions; the target only names the oldest that the package supports.
  const args = [prebuildify, '--napi', '--strip', '--target=20.9.0', '--node-gyp', path.join(__dirname, 'gyp.js')];
  await step('prebuilding', 'prebuild', process.execPath, args);
  const files = fs.readdirSync(folder);
  if (!files.includes('foretoken.node'))
    throw new SetupError(`No foretoken.node in ${folder}, but: ${files.join(', ')}`);
  for (const file of files) {
    const megabytes = (fs.statSync(path.join(folder, file)).size / 1e6).toFixed(2);
    process.stdout.write(`${path.relative(root, path.join(folder, file))}  ${megabytes} MB\n`);
  }
});
