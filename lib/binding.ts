import fs from 'node:fs';
import path from 'node:path';
import { ForetokenError } from './error';
import type { Binding } from './native';

let ownRoot: string | undefined;

/** The folder that holds foretoken's package.json: dist/, dist-bench/lib/ and lib/ lie at different depths below it. */
export function packageRoot(): string {
  return (ownRoot ??= packageRootAbove(__dirname));
}

/** The folder that holds foretoken's package.json, `start` or above it. */
export function packageRootAbove(start: string): string {
  for (let folder = start; ; folder = path.dirname(folder)) {
    if (isPackageRoot(folder)) return folder;
    if (folder === path.dirname(folder)) {
      throw new ForetokenError(
        'PACKAGE_INCOMPLETE',
        `No package.json of foretoken above ${start}: reinstall foretoken.`,
      );
    }
  }
}

function isPackageRoot(folder: string): boolean {
  try {
    const text = fs.readFileSync(path.join(folder, 'package.json'), 'utf8');
    return (JSON.parse(text) as { name?: string }).name === 'foretoken';
  } catch {
    return false;
  }
}

let binding: Binding | undefined;

/**
 * Loads foretoken.node once: a local build if there is one, otherwise the prebuild for this platform.
 * Throws a ForetokenError with code ADDON_LOAD_FAILED that says what to do.
 */
export function loadBinding(): Binding {
  if (binding === undefined) {
    const root = packageRoot();
    try {
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- loads at first use, not at import
      binding = (require('node-gyp-build') as (folder: string) => Binding)(root);
    } catch (error) {
      throw new ForetokenError('ADDON_LOAD_FAILED', explainLoadFailure(error, root), { cause: error });
    }
  }
  return binding;
}

/** What the loader of the package in `root` said, what that means on this machine, and the commands that help. */
export function explainLoadFailure(error: unknown, root: string): string {
  const said = error instanceof Error ? error.message.trim() : String(error);
  const platform = `${process.platform}-${process.arch}`;
  const advice = loadAdvice(said, root, platform).map(({ cause, command }) => `- ${cause}\n    ${command}`);
  return [
    `foretoken could not load its native part on ${platform}, Node.js ${process.version}.`,
    said,
    'What helps:',
    ...advice,
  ].join('\n');
}

interface Advice {
  cause: string;
  command: string;
}

function loadAdvice(said: string, root: string, platform: string): Advice[] {
  const advice: Advice[] = [];
  const build = { clone: 'npm run build', package: 'npx node-gyp-build' };
  const isClone = fs.existsSync(path.join(root, 'lib'));
  const command = `cd ${root} && ${isClone ? build.clone : build.package}`;
  if (/GLIBC_|GLIBCXX_|CXXABI_/.test(said)) {
    const cause =
      "This system's C or C++ library is older than the prebuild's. Build here (needs cmake, make, g++ 11 or newer):";
    return [{ cause, command }];
  }
  if ([...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((text) => text.includes('--no-addons'))) {
    advice.push({
      cause: 'Node.js runs with --no-addons, which forbids native code. Start it without:',
      command: 'node …',
    });
  }
  if (Number(process.versions.node.split('.')[0]) < 20) {
    advice.push({
      cause: `foretoken needs Node.js 20 or newer; this is ${process.version}:`,
      command: 'https://nodejs.org',
    });
  }
  if (isClone) {
    advice.push({ cause: 'This is a clone of the repository: build it first.', command });
  } else if (isMusl() || !fs.existsSync(path.join(root, 'prebuilds', platform))) {
    const system = isMusl() ? `${platform} with musl` : platform;
    advice.push({
      cause: `There is no prebuild for ${system}. Build here (needs cmake, make, g++ 11 or newer):`,
      command,
    });
  } else {
    const cause =
      'The installation may be incomplete, or made on another platform. Install again, from the same tarball or folder:';
    advice.push({ cause, command: 'npm uninstall foretoken && npm install PATH_OF_TARBALL_OR_FOLDER' });
  }
  return advice;
}

/** Whether Node.js runs on a C library other than glibc, which the prebuilds for Linux need. */
function isMusl(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return process.platform === 'linux' && header.glibcVersionRuntime === undefined;
}
