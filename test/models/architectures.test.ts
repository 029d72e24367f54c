import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '../../lib';
import { checkArchitecture } from '../../lib/models/architectures';
import { readFixture } from '../support/golden';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();

test('what is refused before weights are fetched is refused as native code refuses it', async () => {
  cpSync(join(__dirname, '../fixtures/models/qwen3'), folder(), { recursive: true });
  const config = JSON.parse(readFileSync(join(folder(), 'config.json'), 'utf8'));
  writeFileSync(join(folder(), 'config.json'), JSON.stringify({ ...config, model_type: 'other' }));
  const [{ tokenizer }] = readFixture<{ tokenizer: object }[]>('tiny-tokenizers.json.gz');
  writeFileSync(join(folder(), 'tokenizer.json'), JSON.stringify(tokenizer));
  const native: unknown = await Engine.load(folder(), { cacheFolder: join(folder(), 'cache') }).catch(
    (error: unknown) => error,
  );
  const { code, message } = native as { code: string; message: string };
  expect(() => checkArchitecture('other', folder())).toThrow(expect.objectContaining({ code, message }));
  const known = message.split('known: ')[1].split(', ');
  expect(known).toContain('qwen3');
  for (const each of known) expect(() => checkArchitecture(each, folder())).not.toThrow();
});
