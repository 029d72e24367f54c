// `npm test`: sets up with the native test programs, fetches the default model once, runs Jest and ends with one line
// "N passed, N failed, N skipped". Arguments go to Jest. Where the model can't be had, the tests that need it are
// skipped; FORETOKEN_REQUIRE_MODEL=1 makes that a failure.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { SetupError, buildDir, root, runForeground, runMain, runNode, setup } = require('./setup');

function fetchModel() {
  let status;
  try {
    status = runNode('dist/cli/main.js', ['pull', 'default'], { stdio: ['ignore', 2, 2] });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    status = 1;
  }
  if (status === 0) return;
  if (process.env.FORETOKEN_REQUIRE_MODEL === '1') {
    throw new SetupError('The default model could not be fetched, and FORETOKEN_REQUIRE_MODEL=1 asks for it.');
  }
  process.stderr.write('The default model could not be fetched: the tests that need it are skipped.\n');
}

/** Counts from Jest's report; a test file that did not even load counts as one failure. */
function count(report) {
  const broken = report.numRuntimeErrorTestSuites;
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

runMain(async () => {
  await setup({ tests: true });
  fetchModel();
  const reportPath = path.join(buildDir, 'jest.json');
  fs.rmSync(reportPath, { force: true });
  const jest = require.resolve('jest/bin/jest', { paths: [root] });
  const args = [jest, '--json', `--outputFile=${reportPath}`, ...process.argv.slice(2)];
  // Jest repeats the report on stdout, where only the closing line belongs.
  const status = runForeground(process.execPath, args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  if (!fs.existsSync(reportPath)) throw new SetupError('Jest ended without a report.');
  const { passed, failed, skipped } = count(JSON.parse(fs.readFileSync(reportPath, 'utf8')));
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  return failed > 0 ? 1 : status;
});
