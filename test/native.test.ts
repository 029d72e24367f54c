import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../lib/binding';
import { findDefaultModel } from './support/default-model';

const root = packageRoot();

/** The programs of one folder, a source file each. */
function programsOf(folder: string, prefix: string): string[] {
  return fs
    .readdirSync(path.join(root, 'test', folder))
    .filter((file) => file.endsWith('.cc'))
    .map((file) => prefix + path.basename(file, '.cc'));
}

const programs = [...programsOf('native', 'test_'), ...programsOf('cuda', 'simt_')];

/** Property tests over whole forward passes in every format are slow on two cores. */
const programLimit = 15 * 60_000;

/** Programs that hold the default model to its fixture; they skip themselves when it isn't named. */
const needDefaultModel = ['test_default_model'];
const model = findDefaultModel();
const skipped = model ? [] : programs.filter((name) => needDefaultModel.includes(name));
const run = programs.filter((name) => !skipped.includes(name));

describe('native test programs', () => {
  beforeAll(() => {
    const build = spawnSync(process.execPath, [path.join(root, 'scripts', 'build.js'), '--native', '--tests'], {
      encoding: 'utf8',
    });
    if (build.status !== 0) throw new Error(build.stderr);
  }, programLimit);

  for (const name of skipped) it.skip(`${name} (skipped: the default model is not at hand)`, () => undefined);

  it.each(run)(
    '%s',
    (name) => {
      const program = path.join(root, 'build', 'tests', name);
      const result = spawnSync(program, {
        cwd: root,
        encoding: 'utf8',
        timeout: programLimit - 1000,
        env: { ...process.env, ...(model ? { FORETOKEN_TEST_MODEL: model } : {}) },
      });
      if (result.error) throw result.error;
      const ended = result.signal ?? result.status;
      expect({ ended, said: ended === 0 ? '' : `${result.stdout}\n${result.stderr}` }).toEqual({ ended: 0, said: '' });
    },
    programLimit,
  );
});
