import { NativeRunner } from '../../bench/common/runner';
import { tinyModel } from './tiny';

const tiny = tinyModel();

test('a request waits from the moment on that it was made, whatever the engine is doing', async () => {
  const runner = await NativeRunner.load(tiny.path, { maxSequences: 2, threads: 1 });
  const held = runner.engine.profile(64, 128, 200);
  const runs: Promise<unknown>[] = [];
  for (let i = 1; i <= 3; ++i) {
    runs.push(runner.run({ prompt: Int32Array.of(5), maxTokens: 4 }));
    const { active, waiting } = runner.engine.stats();
    expect(active + waiting).toBe(i);
  }
  await Promise.all([held, ...runs]);
  await runner.close();
});
