// `npm start`: sets everything up for the CPU alone and runs the main job. Arguments go to `foretoken demo`.
'use strict';

const { runMain, runNode, setup } = require('./setup');

runMain(async () => {
  await setup({ cuda: 'OFF' });
  return runNode('dist/cli/main.js', ['demo', ...process.argv.slice(2)]);
});
