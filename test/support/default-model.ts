import { statSync } from 'node:fs';
import { join } from 'node:path';
import { defaultModel, defaultModelPath } from '../../lib/models/default-model';

/**
 * The default model's file for tests, or undefined where it is not at hand (the test command fetches it beforehand).
 *
 * `FORETOKEN_TEST_MODEL` may name the file; else it is looked for in the cache. With `FORETOKEN_REQUIRE_MODEL=1` its
 * absence is an error, so that a run that must have it can't pass without.
 */
export function findDefaultModel(): string | undefined {
  const candidates = [process.env.FORETOKEN_TEST_MODEL, defaultModelPath()];
  for (const path of candidates) {
    if (path && statSync(path, { throwIfNoEntry: false })?.size === defaultModel.size) return path;
  }
  if (process.env.FORETOKEN_REQUIRE_MODEL === '1') {
    throw new Error(`FORETOKEN_REQUIRE_MODEL is set, but the default model is not at ${defaultModelPath()}`);
  }
  return undefined;
}

/**
 * `describe` for tests that need the default model: skipped, with the reason in their title and on the console, where
 * it is not at hand.
 */
export function describeWithDefaultModel(name: string, body: (path: string) => void): void {
  const path = findDefaultModel();
  if (path) {
    describe(name, () => body(path));
    return;
  }
  const reason = `skipped: ${defaultModel.file} is not in ${join(defaultModelPath(), '..')} ("foretoken pull default" fetches it)`;
  process.stderr.write(`${name}: ${reason}\n`);
  // The body may read the model while it declares its tests, so it isn't run: one skipped test stands for all of them.
  test.skip(`${name} (${reason})`, () => body(''));
}
