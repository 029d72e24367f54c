import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runChild } from './child';

const installSeconds = 240;

/** Each Node binding: its packages, the one with native code for this machine's processor (no GPU) last. */
const packages = {
  'node-llama-cpp': { version: '3.22.1', names: ['node-llama-cpp', `@node-llama-cpp/linux-${process.arch}`] },
  'llama.node': { version: '1.7.15', names: ['@fugood/llama.node', `@fugood/node-llama-linux-${process.arch}`] },
};

/** Names under which the Node bindings are reported. */
export type Binding = keyof typeof packages;

/**
 * Installs a Node binding into a folder of its own under `cache`, once, and returns that folder. Its optional packages are left
 * out: they hold native code for GPUs, a gigabyte of it.
 */
export async function installBinding(binding: Binding, cache: string): Promise<string> {
  const { version, names } = packages[binding];
  const folder = join(cache, 'peers', `${binding}-${version}`);
  if (existsSync(folder)) return folder;
  if (process.platform !== 'linux') throw new Error('is compared with on Linux only');
  const half = `${folder}.half`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true });
  writeFileSync(join(half, 'package.json'), JSON.stringify({ private: true }));
  const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--fetch-retries=1'];
  const wanted = names.map((name) => `${name}@${version}`);
  await runChild('npm', ['install', ...flags, ...wanted], installSeconds, half);
  renameSync(half, folder);
  return folder;
}
