// `npm run compile-gate`: compiles every kernel for Hopper and for Blackwell and holds it to scripts/compile-gate.json:
// no spills, a ceiling for registers and static shared memory, and the instructions it is meant to be made of. Prints a
// table (`--markdown` as docs/kernels.md has it) and ends non-zero where a kernel breaks its line of the list, where
// one has none, or where a line has no kernel. Then it builds the GPU bench for Hopper in build/gpu-bench, so that it
// still can be where a GPU is, and looks at how it ends without one.
//
// Needs nvcc; ends with 0 where there is none.
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { histograms } = require('./cubin');
const { SetupError, buildDir, root, runMain, step, works } = require('./setup');

const architectures = ['90a', '100f'];
const flags = ['-std=c++20', '-O3', '--fmad=false', '--expt-relaxed-constexpr', '-I.', '-Inative', '-Xptxas', '-v'];

/** @typedef {{name: string, arch: string, registers: number, spilled: number, shared: number, counts: Map}} Kernel */

function sourcesUnder(folder) {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return sourcesUnder(file);
    return file.endsWith('.cu') ? [file] : [];
  });
}

/** "void foretoken::cuda::f<foretoken::cuda::A, 2>(int)" -> "f<A, 2>". */
function shortName(mangled) {
  const full = spawnSync('c++filt', ['-p', mangled], { encoding: 'utf8' }).stdout.trim();
  return full
    .replace(/^void /, '')
    .replaceAll(/\(anonymous namespace\)::/g, '')
    .replaceAll(/foretoken::(cuda::)?/g, '')
    .replaceAll(/\((?:int|bool|unsigned int)\)/g, '');
}

/** What ptxas says of each kernel, by mangled name. */
function ptxasReport(text) {
  const report = new Map();
  let current;
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\w+)'/.exec(line);
    if (entry) report.set(entry[1], (current = { registers: 0, spilled: 0, shared: 0 }));
    if (!current) continue;
    const number = (pattern) => Number(pattern.exec(line)?.[1] ?? 0);
    current.spilled = Math.max(current.spilled, number(/(\d+) bytes spill stores/), number(/(\d+) bytes spill loads/));
    current.registers = Math.max(current.registers, number(/Used (\d+) registers/));
    current.shared = Math.max(current.shared, number(/(\d+) bytes smem/));
  }
  return report;
}

/** Compiles one source for one architecture and resolves to its kernels. */
function compile(source, arch, folder) {
  const cubin = path.join(folder, `${source.replaceAll(path.sep, '.')}.${arch}.cubin`);
  const target = ['-gencode', `arch=compute_${arch},code=sm_${arch}`, '-cubin', '-o', cubin, source];
  return new Promise((resolve, reject) => {
    const nvcc = spawn('nvcc', [...flags, ...target], { cwd: root });
    let text = '';
    nvcc.stdout.on('data', (data) => (text += data));
    nvcc.stderr.on('data', (data) => (text += data));
    nvcc.on('error', reject);
    nvcc.on('close', (status) => {
      if (status !== 0) return reject(new SetupError(`nvcc failed on ${source} for sm_${arch}:\n${text}`));
      const instructions = histograms(fs.readFileSync(cubin));
      resolve(
        [...ptxasReport(text)].map(([mangled, report]) => ({
          ...report,
          name: shortName(mangled),
          arch,
          counts: instructions.get(mangled) ?? new Map(),
        })),
      );
    });
  });
}

/** Runs `jobs` on as many processors as there are. */
async function inParallel(jobs) {
  const results = [];
  const worker = async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) results.push(...(await job()));
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
  return results;
}

/** What is wrong with a kernel, by its line of the list. */
function complaints(kernel, line) {
  const found = [];
  if (kernel.spilled > 0) found.push(`spills ${kernel.spilled} bytes`);
  if (kernel.registers > line.registers) found.push(`${kernel.registers} registers, at most ${line.registers}`);
  if (kernel.shared > (line.shared ?? 1024)) found.push(`${kernel.shared} bytes of static shared memory`);
  for (const [name, least] of Object.entries(line.instructions?.[kernel.arch] ?? line.instructions ?? {})) {
    if (typeof least !== 'number') continue;
    const count = kernel.counts.get(name) ?? 0;
    if (count < least) found.push(`${count} ${name}, at least ${least}`);
  }
  return found.map((what) => `${kernel.name} for sm_${kernel.arch}: ${what}`);
}

/** One row of the table: all kernels of a line on one architecture. */
function row(line, arch, kernels) {
  const most = (of) => Math.max(...kernels.map(of));
  const names = Object.keys(line.instructions?.[arch] ?? line.instructions ?? {});
  const shown = names.filter((name) => kernels.some(({ counts }) => counts.has(name)));
  const range = (name) => {
    const counts = kernels.map((kernel) => kernel.counts.get(name) ?? 0);
    const [least, largest] = [Math.min(...counts), Math.max(...counts)];
    return `${name} ${least === largest ? least : `${least}-${largest}`}`;
  };
  return [line.title, `sm_${arch}`, kernels.length, `${most((k) => k.registers)} / ${line.registers}`,
    most((k) => k.spilled), most((k) => k.shared), shown.map(range).join(', ')]; // prettier-ignore
}

function print(rows) {
  const table = [
    ['kernels', 'for', 'number', 'registers / ceiling', 'spilled', 'static shared', 'instructions'],
    ...rows,
  ];
  if (process.argv.includes('--markdown'))
    table.splice(
      1,
      0,
      table[0].map(() => '---'),
    );
  const widths = table[0].map((_, column) => Math.max(...table.map((cells) => String(cells[column]).length)));
  const [edge, gap] = process.argv.includes('--markdown') ? ['|', ' | '] : ['', '  '];
  for (const cells of table) {
    const text = cells.map((cell, column) => String(cell).padEnd(widths[column])).join(gap);
    process.stdout.write(`${edge && `${edge} `}${text.trimEnd()}${edge && ` ${edge}`}\n`);
  }
}

/** Builds bench/gpu as its own CMake project; the library for the CPU is taken from build/ where that is built already. */
async function buildGpuBench() {
  const folder = path.join(buildDir, 'gpu-bench');
  const core = path.join(buildDir, 'libforetoken_core.a');
  const parallel = ['--parallel', String(os.availableParallelism())];
  const built = fs.existsSync(core);
  if (built) {
    const args = ['--build', buildDir, '--target', 'foretoken_core', ...parallel];
    await step('bringing the library for the CPU up to date', 'gate-core', 'cmake', args);
  }
  const settings = ['-DFORETOKEN_ARCHITECTURES=90a', `-DFORETOKEN_CORE=${built ? core : ''}`];
  const source = path.join(root, 'bench', 'gpu');
  await step('configuring the GPU bench', 'gate-configure', 'cmake', ['-S', source, '-B', folder, ...settings]);
  await step('building the GPU bench', 'gate-bench', 'cmake', ['--build', folder, ...parallel]);
  return path.join(folder, 'foretoken_gpu_bench');
}

/** What is wrong with how the GPU bench ends where it can't begin. */
function benchComplaints(program) {
  const without = { ...process.env, CUDA_VISIBLE_DEVICES: '' };
  const expected = [
    { arguments: [], status: 2, says: 'usage: foretoken_gpu_bench' },
    { arguments: ['kernel'], status: 2, says: "there is no part 'kernel'" },
    { arguments: ['kernels'], status: 1, says: 'foretoken_gpu_bench needs a CUDA device' },
  ];
  return expected.flatMap(({ arguments: args, status, says }) => {
    const ended = spawnSync(program, args, { encoding: 'utf8', env: without });
    if (ended.status === status && ended.stderr.includes(says)) return [];
    const how = `ended with ${ended.signal ?? ended.status} and said ${JSON.stringify(ended.stderr)}`;
    return [`foretoken_gpu_bench ${args.join(' ')} without a device: ${how}, not with ${status} and "${says}"`];
  });
}

runMain(async () => {
  if (!works('nvcc')) {
    process.stdout.write('No nvcc: nothing compiled.\n');
    return 0;
  }
  const list = JSON.parse(fs.readFileSync(path.join(__dirname, 'compile-gate.json'), 'utf8'));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'foretoken-gate-'));
  const sources = sourcesUnder('cuda');
  const jobs = sources.flatMap((source) => architectures.map((arch) => () => compile(source, arch, folder)));
  const kernels = await inParallel(jobs).finally(() => fs.rmSync(folder, { recursive: true }));
  const lineOf = (kernel) => list.find(({ kernels: pattern }) => new RegExp(pattern).test(kernel.name));
  const wrong = kernels.flatMap((kernel) => {
    const line = lineOf(kernel);
    return line ? complaints(kernel, line) : [`${kernel.name}: has no line in scripts/compile-gate.json`];
  });
  const rows = list.flatMap((line) =>
    architectures.flatMap((arch) => {
      const matching = kernels.filter((kernel) => kernel.arch === arch && lineOf(kernel) === line);
      if (matching.length > 0) return [row(line, arch, matching)];
      wrong.push(`${line.kernels}: no such kernel for sm_${arch}`);
      return [];
    }),
  );
  print(rows);
  wrong.push(...benchComplaints(await buildGpuBench()));
  for (const text of wrong) process.stderr.write(`${text}\n`);
  return wrong.length > 0 ? 1 : 0;
});
