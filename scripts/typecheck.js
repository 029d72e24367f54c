// `npm run typecheck`: the compiler over library, tests and benches, writing nothing.
'use strict';

const path = require('node:path');
const { installModules, root, runForeground, runMain } = require('./setup');

/** Returns 0 when every TypeScript project compiles. */
function typecheck() {
  const tsc = require.resolve('typescript/bin/tsc', { paths: [root] });
  const results = ['tsconfig.json', 'test/tsconfig.json', 'bench/tsconfig.json'].map((project) => {
    process.stderr.write(`- tsc ${project}\n`);
    const args = [tsc, '--noEmit', '--incremental', 'false', '--tsBuildInfoFile', 'null'];
    return runForeground(process.execPath, [...args, '-p', path.join(root, project)], { cwd: root });
  });
  return results.every((status) => status === 0) ? 0 : 1;
}

module.exports = { typecheck };

if (require.main === module) {
  runMain(async () => {
    await installModules();
    return typecheck();
  });
}
