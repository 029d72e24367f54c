// `npm run lint`: ESLint, Prettier, clang-format, actionlint, the compiler's type check, and that kernels
// don't ask what compiles them; all of them run, all complaints count.
// `npm run format` (--fix) lets the formatters write instead.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { installModules, root, runForeground, runMain } = require('./setup');
const { typecheck } = require('./typecheck');

const fix = process.argv.includes('--fix');

/** Files under `folder` with one of the extensions, fixtures and links left out. */
function filesUnder(folder, extensions) {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'fixtures' ? [] : filesUnder(file, extensions);
    return entry.isFile() && extensions.includes(path.extname(entry.name)) ? [file] : [];
  });
}

function tool(name, args) {
  const manifest = require.resolve(`${name}/package.json`, { paths: [root] });
  const { bin } = require(manifest);
  process.stderr.write(`- ${name}\n`);
  return runForeground(process.execPath, [path.join(path.dirname(manifest), bin[name] ?? bin), ...args], { cwd: root });
}

function clangFormat() {
  const native = ['native', 'cuda', 'bench', 'test'].flatMap((folder) =>
    filesUnder(folder, ['.h', '.cc', '.cu', '.cuh']),
  );
  const program = require(require.resolve('clang-format', { paths: [root] })).getNativeBinary();
  process.stderr.write('- clang-format\n');
  return runForeground(program, [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...native], { cwd: root });
}

/** Kernels don't know what compiles them: only the primitives and the executor itself may ask. */
function kernelsAskNothing() {
  process.stderr.write('- kernels without executor switches\n');
  const askers = [path.join('cuda', 'common'), path.join('cuda', 'simt'), path.join('test', 'cuda')];
  const found = ['cuda', 'test']
    .flatMap((folder) => filesUnder(folder, ['.h', '.cc', '.cu', '.cuh']))
    .filter((file) => !askers.some((folder) => file.startsWith(folder + path.sep)))
    .filter((file) => /FORETOKEN_SIMT|__CUDACC__|__CUDA_ARCH/.test(fs.readFileSync(path.join(root, file), 'utf8')));
  for (const file of found) {
    process.stderr.write(`${file}: asks what compiles it; move the difference to a primitive of cuda/common\n`);
  }
  return found.length > 0 ? 1 : 0;
}

/** The workflows of .github; labels of runners are left alone, because the linter's list of them is of 2022. */
async function lintWorkflows() {
  process.stderr.write('- actionlint\n');
  const { createLinter } = require(require.resolve('actionlint', { paths: [root] }));
  const lint = await createLinter();
  const folder = path.join('.github', 'workflows');
  const files = fs.readdirSync(path.join(root, folder)).map((file) => path.join(folder, file));
  const found = files
    .flatMap((file) => lint(fs.readFileSync(path.join(root, file), 'utf8'), file))
    .filter(({ kind }) => kind !== 'runner-label');
  for (const { file, line, column, message } of found) {
    process.stderr.write(`${file}:${line}:${column}: ${message}\n`);
  }
  return found.length > 0 ? 1 : 0;
}

async function main() {
  await installModules();
  const results = [
    tool('eslint', ['--max-warnings=0', ...(fix ? ['--fix'] : []), '.']),
    tool('prettier', [fix ? '--write' : '--check', '--log-level=warn', '.']),
    clangFormat(),
    kernelsAskNothing(),
    await lintWorkflows(),
    typecheck(),
  ];
  return results.every((status) => status === 0) ? 0 : 1;
}

runMain(main);
