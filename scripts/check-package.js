// `npm run check:package`: packs the tarball and installs it as a stranger would with nothing at hand: an empty folder,
// --ignore-scripts, no compiler on PATH, an empty npm cache and no network. Then loads it from CommonJS and ESM and
// decodes; and lets CMake configure what was installed, as an install without a prebuild does before it compiles. Needs
// `npm run build` and `npm run prebuild` first. FORETOKEN_REQUIRE_MODEL=1: with the default model only.
//
// npm resolves the package's dependencies as it always does, but from a registry on this machine that serves what
// node_modules holds; whatever would leave the machine is sent to a proxy that isn't there.
'use strict';

const { execFileSync, spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { SetupError, installModules, root, runMain, step } = require('./setup');
const { serveModules } = require('./local-registry');

/** npm's own entry, because its launcher needs a shell and a PATH. */
function npmCli() {
  if (process.env.npm_execpath?.endsWith('.js')) return process.env.npm_execpath;
  return fs.realpathSync(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim());
}

function pack(folder) {
  const args = [npmCli(), 'pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const [{ filename, files, size }] = JSON.parse(execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }));
  const names = files.map((file) => file.path);
  const platform = `${process.platform}-${process.arch}`;
  const loaded = ['dist/index.js', 'dist/index.mjs', 'dist/index.d.ts', 'LICENSE'];
  const built = ['CMakeLists.txt', 'binding.gyp', 'scripts/cmake.js'];
  const needed = [...loaded, ...built, 'docs/development.md'];
  const missing = [...needed, `prebuilds/${platform}/foretoken.node`].filter((name) => !names.includes(name));
  if (missing.length > 0)
    throw new SetupError(`The tarball lacks ${missing.join(', ')}: run "npm run build" and "npm run prebuild" first.`);
  const stray = names.filter((name) => /^(lib|test|bench|docs\/[^/]+|node_modules)\/|\.(map|tsbuildinfo)$/.test(name));
  if (stray.length > 0) throw new SetupError(`The tarball holds what nobody needs: ${stray.join(', ')}`);
  process.stdout.write(`${filename}: ${names.length} files, ${(size / 1e6).toFixed(2)} MB\n`);
  return path.join(folder, filename);
}

/** A PATH with node and nothing else, a home of its own, and a proxy that refuses: what the stranger's shell sees. */
function strangersEnvironment(folder, registry) {
  const bin = path.join(folder, 'bin');
  fs.mkdirSync(bin);
  fs.symlinkSync(process.execPath, path.join(bin, 'node'));
  const nowhere = 'http://127.0.0.1:9';
  return {
    PATH: bin,
    HOME: folder,
    HTTP_PROXY: nowhere,
    HTTPS_PROXY: nowhere,
    NO_PROXY: '127.0.0.1',
    npm_config_registry: registry,
    npm_config_cache: path.join(folder, 'npm-cache'),
    npm_config_userconfig: path.join(folder, 'npmrc'),
    npm_config_update_notifier: 'false',
  };
}

/** The registry answers from this process, so npm must not block it. */
function run(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit', ...options });
    child.on('error', reject);
    child.on('close', (status, signal) =>
      status === 0 ? resolve() : reject(new SetupError(`${path.basename(args[0])} ended with ${signal ?? status}`)),
    );
  });
}

/** What scripts/cmake.js begins with in an installed package, with this machine's tools; compiling would take minutes. */
async function configure(folder, consumer) {
  const source = path.join(consumer, 'node_modules', 'foretoken');
  const cmakeJs = require.resolve('cmake-js/bin/cmake-js', { paths: [source] });
  const args = [cmakeJs, 'configure', '-O', path.join(folder, 'build')];
  await step('configuring what was installed', 'package-configure', process.execPath, args, { cwd: source });
}

/** The command that cuts a process off the network, where the kernel lets us; otherwise none. */
function withoutNetwork() {
  const isolated = ['unshare', '--map-root-user', '--net'];
  const allowed = spawnSync(isolated[0], [...isolated.slice(1), process.execPath, '-e', ''], { stdio: 'ignore' });
  if (allowed.status === 0) return isolated;
  process.stdout.write('unshare is not allowed here: decoding is checked without cutting the network off\n');
  return [];
}

runMain(async () => {
  await installModules();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'foretoken-package-'));
  const registry = await serveModules(path.join(folder, 'registry'));
  try {
    const tarball = pack(folder);
    const consumer = path.join(folder, 'consumer');
    fs.mkdirSync(consumer);
    fs.writeFileSync(path.join(consumer, 'package.json'), '{ "name": "consumer", "private": true }\n');
    const env = strangersEnvironment(folder, registry.url);
    const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball];
    await run(process.execPath, [npmCli(), ...install], { cwd: consumer, env });
    await configure(folder, consumer);

    fs.copyFileSync(path.join(__dirname, 'package-consumer.js'), path.join(consumer, 'consumer.js'));
    const model = { FORETOKEN_HOME: process.env.FORETOKEN_HOME, XDG_CACHE_HOME: process.env.XDG_CACHE_HOME };
    const requirement = { FORETOKEN_REQUIRE_MODEL: process.env.FORETOKEN_REQUIRE_MODEL };
    const given = Object.fromEntries(Object.entries({ ...model, ...requirement }).filter(([, value]) => value));
    const [command, ...before] = [...withoutNetwork(), process.execPath];
    const decodeEnv = { ...env, HOME: os.homedir(), ...given };
    // unshare lies on the PATH of this process, not on the stranger's.
    const program = command === process.execPath ? command : execFileSync('sh', ['-c', `command -v ${command}`]);
    await run(String(program).trim(), [...before, 'consumer.js'], { cwd: consumer, env: decodeEnv });
  } finally {
    registry.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
  process.stdout.write(
    'The packed tarball installs without compiler or network, loads and decodes; its sources can be configured.\n',
  );
});
