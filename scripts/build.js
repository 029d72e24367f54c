// `npm run build`: packages, native code (CUDA too where nvcc is found) and TypeScript.
// `--tests` also builds the native test programs; `--native` leaves TypeScript out.
'use strict';

const { SetupError, buildNative, checkTools, installModules, runMain, setup } = require('./setup');

runMain(async () => {
  const unknown = process.argv.slice(2).find((each) => !['--tests', '--native'].includes(each));
  if (unknown !== undefined) throw new SetupError(`There is no ${unknown}: npm run build [-- [--tests] [--native]]`);
  const tests = process.argv.includes('--tests');
  if (!process.argv.includes('--native')) return setup({ tests });
  checkTools();
  await installModules();
  await buildNative({ tests });
});
