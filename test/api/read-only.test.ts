import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '../../lib';
import { loadBinding } from '../../lib/binding';
import type { LoadOptions, LoadProgress } from '../../lib';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { temporaryFolder } from '../support/temporary';
import { whileReadOnly } from '../support/read-only';

const folder = temporaryFolder();
const cache = () => join(folder(), 'cache');

/** Loads, takes a turn and closes in a cache folder that can't be written; what was told meanwhile. */
async function run(
  options: LoadOptions = {},
  atLast?: (engine: Engine) => Promise<void>,
): Promise<{ stages: string[]; events: object[] }> {
  const stages = new Set<string>();
  const events: object[] = [];
  await whileReadOnly(cache(), async () => {
    const engine = await Engine.load(join(cache(), 'tiny.gguf'), {
      ...{ cacheFolder: cache(), threads: 2, onEvent: (event) => events.push(event), ...options },
      onProgress: ({ stage }: LoadProgress) => stages.add(stage),
    });
    const { text } = await engine.generate('one two three', { maxTokens: 8, ignoreEos: true });
    expect(text).not.toBe('');
    const exported = engine.exportMemory(join(cache(), 'memory.safetensors'));
    await expect(exported).rejects.toMatchObject({ code: 'WRITE_FAILED' });
    await atLast?.(engine);
    await engine.close();
  });
  return { stages: [...stages], events };
}

// Somebody else than root may not get to the package.
beforeAll(() => void loadBinding());

let seed = 40;

/** Weights of their own: those that another engine of the process still holds are not packed again. */
beforeEach(() => {
  mkdirSync(cache());
  writeTinyModel(join(cache(), 'tiny.gguf'), { seed: seed++ });
});

test('a cache folder with nothing but the model in it need not be writable; that weights are packed anew each time is said', async () => {
  const { stages } = await run();
  expect(stages).toEqual([expect.stringMatching(/^packing/), expect.stringMatching(/not cached: .*cannot create/)]);
  expect(readdirSync(cache())).toEqual(['tiny.gguf']);
});

test('packed weights are used where nothing can be written; what cannot be kept is told', async () => {
  const engine = await Engine.load(join(cache(), 'tiny.gguf'), { cacheFolder: cache(), threads: 2 });
  await engine.close();
  const { stages, events } = await run({ keepLearned: true });
  expect(stages).toEqual([]);
  expect(events).toEqual([expect.objectContaining({ kind: 'notKept', tenant: 'default' })]);
});

test('in a folder that can not be written, forgetting who is kept there fails, and who is not there does not', async () => {
  const say = { maxTokens: 8, ignoreEos: true };
  const kept = { cacheFolder: cache(), threads: 2, keepLearned: true };
  const engine = await Engine.load(join(cache(), 'tiny.gguf'), kept);
  await engine.generate('one two three', say);
  await engine.close();
  const { events } = await run({ keepLearned: true }, async (again) => {
    await again.generate('one two three', { ...say, group: 'team' }); // goes with its tenants, and never was on disk
    const message = expect.stringMatching(/^What is kept of tenant 'default' is still on disk/) as string;
    await expect(again.forget({ tenant: 'default' })).rejects.toMatchObject({ code: 'WRITE_FAILED', message });
    await again.forget({ tenant: 'another' });
  });
  expect(events).toEqual([]);
});
