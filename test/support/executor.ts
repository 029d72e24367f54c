import { copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/binding';

/** Calls of the CUDA runtime by what they are for; 'any': whichever comes next. */
export type RuntimeCall = 'any' | 'allocate' | 'copy' | 'launch' | 'wait' | 'other';

/** What lets calls of the CUDA runtime fail, as the executor has it (cuda/simt/faults.h). */
export interface Faults {
  /** After so many calls of this kind one fails: memory is lacking, once; otherwise the device is lost until {@link mend}. */
  arm: (call: RuntimeCall, after: number, outOfMemory: boolean) => void;
  /** All is well again. Whether the fault was met. */
  mend: () => boolean;
}

/** An addon of this file's own, and the CUDA library on the executor, which can be laid beside it. */
export interface ExecutorAddon {
  /** What the addon looks for beside itself. */
  library: string;
  /** Lays the library there. */
  install: () => Faults;
}

const build = join(packageRoot(), 'build');

function libraryIn(folder: string): string {
  return join(folder, 'tests', 'library', 'libforetoken_cuda.so');
}

/** Why the library in a build folder is not that of the build; undefined where it is. */
export function whyNoExecutor(folder: string): string | undefined {
  const remedy = '"npm run build -- --tests" makes it';
  if (!existsSync(libraryIn(folder))) return `build/tests/library is not there; ${remedy}`;
  const isOfBuild = readFileSync(join(folder, 'settings.txt'), 'utf8').includes('FORETOKEN_TESTS=ON');
  return isOfBuild ? undefined : `build/tests/library is of an earlier build than the addon; ${remedy} anew`;
}

/**
 * `describe` for tests of the addon with the CUDA backend on the executor: lib/ loads an addon from a folder of its own. Skipped, with
 * the reason in their title and on the console, where the library is not of the build.
 */
export function describeOnExecutor(name: string, body: (addon: ExecutorAddon) => void): void {
  const why = whyNoExecutor(build);
  if (why !== undefined) {
    const reason = `skipped: ${why}`;
    process.stderr.write(`${name}: ${reason}\n`);
    test.skip(`${name} (${reason})`, () => undefined);
    return;
  }
  describe(name, () => body(addonApart()));
}

function addonApart(): ExecutorAddon {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-executor-'));
  const release = join(folder, 'build', 'Release');
  const library = join(release, 'libforetoken_cuda.so');
  const before = process.env.FORETOKEN_PREBUILD;
  beforeAll(() => {
    mkdirSync(release, { recursive: true });
    // A copy: the system would take a link for the addon that other tests of this process have loaded.
    copyFileSync(join(build, 'Release', 'foretoken.node'), join(release, 'foretoken.node'));
    process.env.FORETOKEN_PREBUILD = folder; // where lib/binding.ts looks
  });
  afterAll(() => {
    if (before === undefined) delete process.env.FORETOKEN_PREBUILD;
    else process.env.FORETOKEN_PREBUILD = before;
    rmSync(folder, { recursive: true, force: true });
  });
  const install = (): Faults => {
    rmSync(library, { force: true });
    copyFileSync(libraryIn(build), library);
    // Node loads the library under the name of an addon; being one file, it is the one that foretoken.node opens.
    const asAddon = join(folder, 'faults.node');
    linkSync(library, asAddon);
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- the only way to load an addon
    return require(asAddon) as Faults;
  };
  return { library, install };
}
