import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib';

/** Words of the tiny vocabulary, each with the blank that sentencepiece writes as U+2581. */
const words = Array.from({ length: 127 }, (_, i) => `w${i}`);
const time = 3 + 7;

/** A sentencepiece-like tokenizer.json, as Llama 2's is built: a blank is put before a text and taken off again. */
const tokenizer = {
  added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true })),
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '\u2581' },
      { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
    ],
  },
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    type: 'BPE',
    unk_token: '<unk>',
    byte_fallback: true,
    vocab: Object.fromEntries(
      ['<unk>', '<s>', '</s>', ...words.map((word) => `\u2581${word}`), 'a'].map((t, id) => [t, id]),
    ),
    merges: [],
  },
};

let folder: string;
let engine: Engine;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-sentencepiece-'));
  cpSync(join(__dirname, '../fixtures/models/tied-f32'), folder, { recursive: true });
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ chat_template: "{% for message in messages %}{{ message['content'] }}{% endfor %}" }),
  );
  engine = await Engine.load(folder, { cacheFolder: join(folder, 'cache'), threads: 1 });
});

afterAll(async () => {
  await engine?.close();
  rmSync(folder, { recursive: true, force: true });
});

const says = { maxTokens: 3, ignoreEos: true, logitBias: { [time]: 1000 } };

test('an answer starts a text of its own: no blank before it', async () => {
  const stream = engine.chatStream([{ role: 'user', content: 'w1' }], says);
  let text = '';
  for await (const chunk of stream) text += chunk.text;
  expect(text).toBe('w7 w7 w7');
  expect((await stream.result).text).toBe(text);
  const session = engine.session(says);
  await session.prompt('w1');
  expect(session.messages[1]).toEqual({ role: 'assistant', content: 'w7 w7 w7' });
});

test('a text that goes on from a prompt keeps the blank between them', async () => {
  expect((await engine.generate([time, time], says)).text).toBe(' w7 w7 w7');
});

test('an answer that goes on keeps the blank between it and what was there', async () => {
  const messages = [{ role: 'assistant', content: 'a' }];
  expect((await engine.chat(messages, { ...says, continueFinalMessage: true })).text).toBe(' w7 w7 w7');
});

test('a prompt of control tokens alone has no text to go on from', async () => {
  expect((await engine.generate([1], says)).text).toBe('w7 w7 w7');
});
