// `npm run lint`: ESLint, Prettier, clang-format, actionlint and the compiler's type check; all of them run, all
// complaints count.
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
  const native = ['native', 'cuda', 'test'].flatMap((folder) => filesUnder(folder, ['.h', '.cc', '.cu', '.cuh']));
  const program = require(require.resolve('clang-format', { paths: [root] })).getNativeBinary();
  process.stderr.write('- clang-format\n');
  return runForeground(program, [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...native], { cwd: root });
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
    await lintWorkflows(),
    typecheck(),
  ];
  return results.every((status) => status === 0) ? 0 : 1;
}

runMain(main);
