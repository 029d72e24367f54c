import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { readTexts } from '../../lib/speculators/prompts';
import { trainHead } from '../../lib/speculators/train-head';
import type { HeadText, TrainHeadOptions } from '../../lib/speculators/train-head';
import { trainStatic } from '../../lib/speculators/train-static';
import { prompts, tinyModel } from './tiny';

const tiny = tinyModel();
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'foretoken-head-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const texts: HeadText[] = Array.from({ length: 40 }, (_, i) => `${prompts[i % prompts.length]} ${i} `.repeat(3));
const options = (more: TrainHeadOptions = {}): TrainHeadOptions => ({
  ...{ cacheFolder: tiny.cache, draftTokens: 64, slots: 3, rank: 4, rowsPerStep: 256, epochs: 2, threads: 2 },
  ...more,
});

test('a run learns, keeps its report, and what was interrupted ends as what was not', async () => {
  const whole = await trainHead(tiny.path, texts, join(folder, 'whole'), options());
  expect(whole.step).toBe(whole.steps);
  expect(whole.heldBack).toBe(2);
  expect(whole.loss.at(-1)!.kl).toBeLessThan(whole.loss[0].kl);
  expect(whole.loss.every(({ notFinite }) => notFinite === '')).toBe(true);
  expect(whole.evaluations.at(-1)!.acceptanceLength).toBeGreaterThanOrEqual(1);
  expect(whole.evaluations.at(-1)!.hits).toHaveLength(3);
  expect(existsSync(join(folder, 'whole', `${whole.model}.head.checkpoint.safetensors`))).toBe(false);

  const parts = join(folder, 'parts');
  const first = await trainHead(tiny.path, texts, parts, options({ maxSeconds: 0 }));
  expect(first).toMatchObject({ path: undefined, step: 0 });
  const abort = new AbortController();
  const interrupted = options({
    signal: abort.signal,
    threads: 1,
    onStep: ({ step }) => step === 2 && abort.abort(),
  });
  await expect(trainHead(tiny.path, texts, parts, interrupted)).rejects.toMatchObject({ code: 'ABORTED' });
  const last = await trainHead(tiny.path, texts, parts, options());
  expect(last.loss).toEqual(whole.loss);
  expect(readFileSync(last.path!).equals(readFileSync(whole.path!))).toBe(true);
});

test('where texts are too few to hold any back, nothing is said of how the head does on them', async () => {
  const { heldBack, evaluations, path } = await trainHead(tiny.path, texts.slice(0, 8), folder, options());
  expect({ heldBack, evaluations }).toEqual({ heldBack: 0, evaluations: [] });
  expect(existsSync(path!)).toBe(true);
});

test('a run can go on from a head, with its vocabulary and shape', async () => {
  const first = await trainHead(tiny.path, texts, join(folder, 'first'), options());
  const from = { from: first.path, draftTokens: 32, slots: 2, rank: 2 };
  const second = await trainHead(tiny.path, texts, join(folder, 'second'), options(from));
  expect(second.parameters).toBe(first.parameters);
  expect(second.loss[0].kl).toBeLessThan((first.loss[0].kl + first.loss.at(-1)!.kl) / 2);
});

/** Makes of a head one as it is saved after learning: its first output row, of 128 numbers, is corrected. */
function correctOutput(path: string): void {
  const bytes = readFileSync(path);
  const end = 8 + Number(bytes.readBigUInt64LE());
  const data = bytes.subarray(end);
  const added = Buffer.alloc(4 + 128 * 4);
  const header = Buffer.from(
    JSON.stringify({
      ...(JSON.parse(bytes.toString('utf8', 8, end)) as object),
      output_delta_places: { dtype: 'F32', shape: [1], data_offsets: [data.length, data.length + 4] },
      output_delta: { dtype: 'F32', shape: [1, 128], data_offsets: [data.length + 4, data.length + added.length] },
    }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path, Buffer.concat([length, header, data, added]));
}

test('from a head that has learned while serving no run goes on, and nothing is answered for it before', async () => {
  const { path } = await trainHead(tiny.path, texts.slice(0, 8), folder, options());
  correctOutput(path!);
  const refused = { code: 'HEAD_LEARNED', message: expect.stringContaining(path!) as string };
  const from = options({ from: path });
  await expect(trainHead(tiny.path, texts, join(folder, 'trained'), from)).rejects.toMatchObject(refused);
  const out = join(folder, 'made');
  await expect(trainStatic(tiny.path, prompts, out, { ...from, answerTokens: 4 })).rejects.toMatchObject(refused);
  expect(readdirSync(out)).toEqual([]);
});

test('a checkpoint of another run is refused, and so are texts too short', async () => {
  await trainHead(tiny.path, texts, folder, options({ maxSeconds: 0 }));
  await expect(trainHead(tiny.path, texts, folder, options({ rate: 0.1 }))).rejects.toMatchObject({
    code: 'CHECKPOINT_MISMATCH',
    name: 'ForetokenError',
  });
  await expect(trainHead(tiny.path, ['a'], folder, options())).rejects.toMatchObject({ code: 'NOTHING_TO_LEARN' });
  const nowhere = join(tiny.path, 'x'); // in a file there is no folder
  await expect(trainHead(tiny.path, texts, nowhere, options())).rejects.toMatchObject({ code: 'WRITE_FAILED' });
});

test('a run whose report is damaged or gone is refused with a code, and says what to remove', async () => {
  const { model } = await trainHead(tiny.path, texts, folder, options({ maxSeconds: 0 }));
  const file = join(folder, `${model}.head.json`);
  for (const spoil of ['{', 'null', '{"seconds": 1, "loss": [null], "evaluations": []}', undefined]) {
    if (spoil === undefined) rmSync(file);
    else writeFileSync(file, spoil);
    const message = expect.stringContaining(`Remove ${join(folder, `${model}.head.checkpoint.safetensors`)}`) as string;
    const run = trainHead(tiny.path, texts, folder, options());
    await expect(run).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID', file, message });
  }
});

test('texts longer than the context are cut, and what is left has to be long enough', async () => {
  const path = join(folder, 'short.gguf');
  writeTinyModel(path, { contextLength: 64 });
  const tokens = Array.from({ length: 100 }, (_, i) => 20 + (i % 7));
  const records = [10, 62, 80].map((answer) => ({ tokens, answer })); // 54 tokens of an answer are left, then too few
  const { texts: taken, tokens: count, ...run } = await trainHead(path, records, join(folder, 'records'), options());
  expect({ taken, count, steps: run.step }).toEqual({ taken: 1, count: 64, steps: run.steps });
  const long = await trainHead(path, ['a'.repeat(1000)], join(folder, 'words'), options());
  expect(long.texts).toBeGreaterThan(1);
  expect(long.tokens / long.texts).toBeLessThanOrEqual(64);
  expect(long.path).toBeDefined();
});

test('texts are whole files, prompts of records, or tokens', async () => {
  writeFileSync(join(folder, 'a.txt'), 'One.\n\nTwo.');
  writeFileSync(join(folder, 'b.jsonl'), '{"question": "Three?"}\n{"prompt": [1, 2], "answer": [3]}\n{"other": 1}\n');
  expect(await readTexts([folder])).toEqual(['One.\n\nTwo.', 'Three?', { tokens: [1, 2, 3], answer: 2 }]);
});
