// `npm run bench -- <suite> …`: sets up for the CPU, compiles bench/ to dist-bench/ and hands the arguments over.
'use strict';

const { buildTypeScript, runMain, runNode, setup } = require('./setup');

runMain(async () => {
  await setup({ cuda: 'OFF' });
  await buildTypeScript('bench/tsconfig.json');
  return runNode('dist-bench/bench/main.js', process.argv.slice(2));
});
