// `npm run fuzz [-- --seconds 60] [--seed 1] [--compiler clang++|g++] [target…]`: builds the fuzz targets with ASan and
// UBSan and runs each. Under clang++ (the default where its libFuzzer links) coverage guides the inputs, under g++ the
// seeded driver of test/fuzz/driver.cc makes them. Seeds come from test/fuzz/corpus/<target>/, where there are any.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { SetupError, buildDir, checkTools, root, runMain, step, works } = require('./setup');

const { values: options, positionals: wanted } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    compiler: { type: 'string' },
  },
  allowPositionals: true,
});

/** clang++ may be there without its run-time libraries: only linking a target tells. */
function linksLibFuzzer() {
  if (!works('clang++')) return false;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'foretoken-fuzz-'));
  const source = path.join(folder, 'probe.cc');
  fs.writeFileSync(
    source,
    'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n',
  );
  const args = ['-fsanitize=fuzzer,address,undefined', source, '-o', path.join(folder, 'probe')];
  const linked = spawnSync('clang++', args, { stdio: 'ignore' }).status === 0;
  fs.rmSync(folder, { recursive: true });
  return linked;
}

/** Builds all targets and returns the folder that holds them. */
async function build(compiler) {
  const folder = path.join(root, `build-fuzz-${path.basename(compiler)}`);
  const settings = ['-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DFORETOKEN_FUZZ=ON', `-DCMAKE_CXX_COMPILER=${compiler}`];
  await step('configuring fuzz targets', 'fuzz-configure', 'cmake', ['-S', root, '-B', folder, ...settings]);
  const parallel = ['--parallel', String(os.availableParallelism())];
  await step('building fuzz targets', 'fuzz-build', 'cmake', ['--build', folder, ...parallel]);
  return path.join(folder, 'fuzz');
}

/** New inputs that libFuzzer finds are kept in the build folder, not among the committed seeds. */
function libFuzzerArgs(folder, name, seeds) {
  const found = path.join(folder, `${name}.corpus`);
  fs.mkdirSync(found, { recursive: true });
  const limits = ['-timeout=30', '-rss_limit_mb=2048', '-malloc_limit_mb=256'];
  const run = [`-max_total_time=${options.seconds}`, `-seed=${options.seed}`, '-print_final_stats=1'];
  return [...run, ...limits, `-artifact_prefix=${path.join(folder, `${name}.`)}`, found, ...seeds];
}

function driverArgs(folder, name, seeds) {
  const run = ['--seconds', options.seconds, '--seed', options.seed];
  return [...run, '--crash', path.join(folder, `${name}.crash`), ...seeds];
}

/** Runs one target with its output in build/fuzz-<name>.log; whether it found nothing. */
async function fuzz(folder, name, args) {
  const log = `fuzz-${name}`;
  try {
    await step(`fuzzing ${name} for ${options.seconds} s`, log, path.join(folder, `fuzz_${name}`), args, {
      cwd: folder,
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return false;
  }
  const runs = fs.readFileSync(path.join(buildDir, `${log}.log`), 'utf8').match(/(\d+) (?:runs in|inputs run)/);
  process.stdout.write(`${name}: ${runs?.[1] ?? 'unknown'} inputs\n`);
  return true;
}

/** Names of the targets, from the sources, so that a stale program in the build folder is never run. */
function targets() {
  const all = fs
    .readdirSync(path.join(root, 'test', 'fuzz'))
    .filter((file) => file.endsWith('.cc') && file !== 'driver.cc')
    .map((file) => path.basename(file, '.cc'));
  const unknown = wanted.filter((name) => !all.includes(name));
  if (unknown.length > 0)
    throw new SetupError(`No such fuzz target: ${unknown.join(', ')}. There are: ${all.join(', ')}`);
  if (all.length === 0) throw new SetupError('There are no fuzz targets in test/fuzz.');
  return wanted.length > 0 ? wanted : all;
}

runMain(async () => {
  checkTools();
  const names = targets();
  const compiler = options.compiler ?? (linksLibFuzzer() ? 'clang++' : 'g++');
  const isClang = path.basename(compiler).startsWith('clang');
  const folder = await build(compiler);
  process.stderr.write(`- fuzzing with ${isClang ? "clang's libFuzzer" : 'the seeded driver'}\n`);
  const failed = [];
  for (const name of names) {
    const corpus = path.join(root, 'test', 'fuzz', 'corpus', name);
    const seeds = fs.existsSync(corpus) ? [corpus] : [];
    const args = isClang ? libFuzzerArgs(folder, name, seeds) : driverArgs(folder, name, seeds);
    if (!(await fuzz(folder, name, args))) failed.push(name);
  }
  process.stdout.write(`${names.length - failed.length} of ${names.length} fuzz targets found nothing wrong\n`);
  if (failed.length > 0) process.stdout.write(`failed: ${failed.join(', ')}\n`);
  return failed.length > 0 ? 1 : 0;
});
