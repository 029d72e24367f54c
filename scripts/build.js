// `npm run build`: packages, native code (CUDA too where nvcc is found) and TypeScript.
// `--tests` also builds the native test programs; `--native` leaves TypeScript out.
'use strict';

const { buildNative, checkTools, installModules, runMain, setup } = require('./setup');

runMain(async () => {
  const tests = process.argv.includes('--tests');
  if (!process.argv.includes('--native')) return setup({ tests });
  checkTools();
  await installModules();
  await buildNative({ tests });
});
