import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { say } from '../common/report';

const peers = { 'node-llama-cpp': '3.22.1', '@fugood/llama.node': '1.7.15' };

/** Installs the Node bindings that are compared with into a folder of their own, once; returns the folder. */
export function installPeers(cache: string): string {
  const folder = join(cache, 'peers');
  if (Object.keys(peers).every((name) => existsSync(join(folder, 'node_modules', name, 'package.json')))) return folder;
  say('Installing the peers (once) …');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
  const wanted = Object.entries(peers).map(([name, version]) => `${name}@${version}`);
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...wanted], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return folder;
}
