// `npm run simt`: everything that the executor of cuda/simt can tell about kernels, on a CPU: all programs of test/cuda
// with more shapes, seeds and schedules, again under ASan and UBSan, and over kernels with injected bugs, which must
// fail.
'use strict';

const os = require('node:os');
const { buildDir, buildNative, checkTools, installModules, runForeground, runMain } = require('./setup');

runMain(async () => {
  checkTools();
  await installModules();
  await buildNative({ tests: true, mutants: true });
  const args = ['--test-dir', buildDir, '-R', '^simt_', '--output-on-failure', '-j', String(os.availableParallelism())];
  return runForeground('ctest', args, { env: { ...process.env, FORETOKEN_LONG: '1' } });
});
