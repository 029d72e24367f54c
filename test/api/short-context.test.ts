import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';
import { writeTinyModel } from '../../lib/models/tiny-model';

const folder = mkdtempSync(join(tmpdir(), 'foretoken-short-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function withContext(contextLength: number): string {
  const path = join(folder, `${contextLength}.gguf`);
  writeTinyModel(path, { contextLength });
  return path;
}

test.each([2, 3, 4, 5, 7])(
  'a model of %d tokens of context decodes to its end, with speculation as without',
  async (length) => {
    const path = withContext(length);
    const texts: number[][] = [];
    for (const speculation of [true, false]) {
      const engine = await Engine.load(path, { cacheFolder: folder, threads: 1, speculation });
      const { tokens, finishReason } = await engine.generate([5], { maxTokens: 100, ignoreEos: true });
      expect(finishReason).toBe('length');
      expect(tokens).toHaveLength(length - 1);
      const full = Array.from({ length }, () => 5);
      await expect(engine.generate(full)).rejects.toMatchObject({ code: 'CONTEXT_EXCEEDED' });
      texts.push(tokens);
      await engine.close();
    }
    expect(texts[0]).toEqual(texts[1]);
  },
);

test('a context that holds no prompt with a token after it is refused', async () => {
  await expect(Engine.load(withContext(1), { cacheFolder: folder })).rejects.toMatchObject({
    code: 'BAD_MODEL_CONFIG',
  });
});
