import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { metadataFromFolder, metadataFromGguf } from '../../lib/models/metadata';
import { Tokenizer } from '../../lib/models/tokenizer';
import type { GgufValue } from '../../lib/native';
import { readFixture } from '../support/golden';
import { temporaryFolder } from '../support/temporary';

const gguf: Record<string, GgufValue> = {
  'general.architecture': 'llama',
  'general.name': 'Tiny',
  'llama.context_length': 4096,
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'llama-bpe',
  'tokenizer.ggml.tokens': ['a', 'b', 'ab', '<s>', '</s>', '<|im_end|>', '<|eot_id|>'],
  'tokenizer.ggml.token_type': Int32Array.of(1, 1, 1, 3, 3, 3, 1),
  'tokenizer.ggml.merges': ['a b'],
  'tokenizer.ggml.bos_token_id': 3,
  'tokenizer.ggml.eos_token_id': 4,
  'tokenizer.chat_template': '{{ messages }}',
};

describe('of a GGUF file', () => {
  test('everything TypeScript needs', () => {
    expect(metadataFromGguf(gguf)).toMatchObject({
      architecture: 'llama',
      name: 'Tiny',
      contextLength: 4096,
      chatTemplate: '{{ messages }}',
      bosId: 3,
      addBos: true,
    });
  });

  test('a template of its own for tools', () => {
    expect(metadataFromGguf(gguf).toolTemplate).toBeUndefined();
    const metadata = metadataFromGguf({ ...gguf, 'tokenizer.chat_template.tool_use': '{{ tools }}' });
    expect(metadata).toMatchObject({ chatTemplate: '{{ messages }}', toolTemplate: '{{ tools }}' });
  });

  test('an answer ends at the EOS token and at tokens known for it, which are control tokens whatever the file says', () => {
    expect(metadataFromGguf(gguf).eosIds).toEqual([4, 5, 6]);
    expect(metadataFromGguf({ ...gguf, 'tokenizer.ggml.eot_token_id': 2 }).eosIds).toEqual([4, 2, 5, 6]);
    for (const type of [1, 3, 4]) {
      const types = Int32Array.of(1, 1, 1, 3, 3, type, 5);
      const metadata = metadataFromGguf({ ...gguf, 'tokenizer.ggml.token_type': types });
      expect(metadata.eosIds).toEqual([4, 5]); // 6 is unused
      const tokenizer = new Tokenizer(metadata);
      expect(tokenizer.decode([0, 5])).toBe('a');
      expect(tokenizer.encode('<|im_end|>', { special: true })).toEqual([5]);
      expect(tokenizer.encode('<|im_end|>')).not.toContain(5);
    }
  });

  test('BOS: what the file says, else what its kind of vocabulary does', () => {
    const addBos = (change: Record<string, GgufValue>): boolean => metadataFromGguf({ ...gguf, ...change }).addBos;
    expect(addBos({ 'tokenizer.ggml.add_bos_token': false })).toBe(false);
    expect(addBos({ 'tokenizer.ggml.pre': 'smollm' })).toBe(false);
    expect(addBos({ 'tokenizer.ggml.pre': 'smollm', 'tokenizer.ggml.add_bos_token': true })).toBe(true);
    expect(addBos({ 'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.pre': 'default' })).toBe(true);
  });

  test('an id of -1 means that there is none; wide numbers come as bigint', () => {
    const none = metadataFromGguf({ ...gguf, 'tokenizer.ggml.bos_token_id': 0xffffffff });
    expect(none.bosId).toBeUndefined();
    expect(metadataFromGguf({ ...gguf, 'llama.context_length': 8192n }).contextLength).toBe(8192);
  });

  const lies: [string, GgufValue | undefined][] = [
    ['general.architecture', undefined],
    ['general.architecture', 7],
    ['tokenizer.ggml.tokens', undefined],
    ['tokenizer.ggml.tokens', [1, 2]],
    ['tokenizer.ggml.model', true],
    ['tokenizer.ggml.token_type', Int32Array.of(1)],
    ['tokenizer.ggml.token_type', 'one'],
    ['tokenizer.ggml.scores', Float32Array.of(1, 2)],
    ['tokenizer.ggml.merges', [1]],
    ['tokenizer.ggml.bos_token_id', 7],
    ['tokenizer.ggml.eos_token_id', -2],
    ['tokenizer.ggml.eos_token_id', 1.5],
    ['tokenizer.ggml.add_bos_token', 1],
    ['tokenizer.chat_template', ['a']],
  ];
  test.each(lies)('refuses %s = %p', (key, value) => {
    const values = { ...gguf };
    if (value === undefined) delete values[key];
    else values[key] = value;
    const error = { code: 'MODEL_INCOMPLETE', message: expect.stringContaining(key) };
    expect(() => metadataFromGguf(values)).toThrow(expect.objectContaining(error));
  });
});

describe('of a Hugging Face folder', () => {
  const folder = temporaryFolder();
  const tokenizer = readFixture<{ tokenizer: Record<string, unknown> }[]>('tiny-tokenizers.json.gz')[1].tokenizer;

  function write(files: Record<string, unknown>): string {
    const path = join(folder(), 'model');
    mkdirSync(path, { recursive: true });
    for (const [name, value] of Object.entries(files)) {
      writeFileSync(join(path, name), typeof value === 'string' ? value : JSON.stringify(value));
    }
    return path;
  }

  const config = { model_type: 'llama', max_position_embeddings: 2048, bos_token_id: 0, eos_token_id: 1 };
  const processor = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
  };

  test('everything TypeScript needs, from all its files', async () => {
    const path = write({
      'config.json': config,
      'tokenizer.json': { ...tokenizer, post_processor: { type: 'Sequence', processors: [processor] } },
      'tokenizer_config.json': { bos_token: '<s>', eos_token: { content: '<|im_end|>' }, chat_template: 'from config' },
      'generation_config.json': { eos_token_id: [1, 2] },
    });
    const metadata = await metadataFromFolder(path);
    expect(metadata).toMatchObject({ architecture: 'llama', contextLength: 2048, bosId: 0, addBos: true });
    expect(metadata.eosIds).toEqual([1, 2, 3]);
    expect(metadata.chatTemplate).toBe('from config');
    expect(new Tokenizer(metadata).encode('hi', { addBos: true })[0]).toBe(0);
  });

  test('the least there can be', async () => {
    const metadata = await metadataFromFolder(write({ 'config.json': config, 'tokenizer.json': tokenizer }));
    expect(metadata).toMatchObject({ addBos: false, chatTemplate: undefined, toolTemplate: undefined });
    expect(metadata.templateTokens).toBeUndefined();
    expect(metadata.eosIds).toEqual([1, 3]);
  });

  test('a token known to end an answer is a control token, also where tokenizer.json says that it is text', async () => {
    const added = (tokenizer.added_tokens as object[]).map((token) => ({ ...token, special: false }));
    const json = { ...tokenizer, added_tokens: added };
    const metadata = await metadataFromFolder(write({ 'config.json': config, 'tokenizer.json': json }));
    expect(metadata.eosIds).toEqual([1, 3]);
    expect(new Tokenizer(metadata).controlTokens()).toEqual([expect.objectContaining({ content: '<|im_end|>' })]);
  });

  test('templates write the tokens of tokenizer_config.json, whatever ids other files have', async () => {
    const files = {
      'config.json': config,
      'tokenizer.json': tokenizer,
      'generation_config.json': { eos_token_id: [1, 2] },
    };
    const tokensWith = async (tokenizerConfig: object) =>
      (await metadataFromFolder(write({ ...files, 'tokenizer_config.json': tokenizerConfig }))).templateTokens;
    const given = await tokensWith({ bos_token: '<s>', eos_token: { content: '<|im_end|>' } });
    expect(given).toEqual({ bos: '<s>', eos: '<|im_end|>' });
    expect(await tokensWith({ bos_token: null, eos_token: '</s>' })).toEqual({ bos: '', eos: '</s>' });
  });

  test('the named templates of tokenizer_config.json: the default one, and that for tools', async () => {
    const several = [
      { name: 'tool_use', template: 'a' },
      { name: 'default', template: 'b' },
      { name: 'rag', template: 'c' },
    ];
    const files = { 'config.json': config, 'tokenizer.json': tokenizer };
    const path = write({ ...files, 'tokenizer_config.json': { chat_template: several } });
    expect(await metadataFromFolder(path)).toMatchObject({ chatTemplate: 'b', toolTemplate: 'a' });
  });

  test('templates in files of their own go before those of the configuration', async () => {
    const configured = [
      { name: 'default', template: 'b' },
      { name: 'tool_use', template: 'a' },
    ];
    const path = write({
      'config.json': config,
      'tokenizer.json': tokenizer,
      'tokenizer_config.json': { chat_template: configured },
      'chat_template.jinja': 'from file',
    });
    expect(await metadataFromFolder(path)).toMatchObject({ chatTemplate: 'from file', toolTemplate: undefined });
    mkdirSync(join(path, 'additional_chat_templates'));
    writeFileSync(join(path, 'additional_chat_templates', 'tool_use.jinja'), 'for tools');
    expect(await metadataFromFolder(path)).toMatchObject({ chatTemplate: 'from file', toolTemplate: 'for tools' });
  });

  test('what is missing or broken is named', async () => {
    const error = (name: string) => ({ code: 'MODEL_INCOMPLETE', message: expect.stringContaining(name) });
    await expect(metadataFromFolder(write({ 'config.json': config }))).rejects.toMatchObject(error('tokenizer.json'));
    const path = write({ 'config.json': '{', 'tokenizer.json': tokenizer });
    await expect(metadataFromFolder(path)).rejects.toMatchObject(error('config.json'));
  });

  const broken: [string, Record<string, unknown>][] = [
    ['no model', { model: undefined }],
    ['no merges', { model: { type: 'BPE', vocab: { a: 0 } } }],
    ['a merge of three', { model: { type: 'BPE', vocab: { a: 0 }, merges: ['a b c'] } }],
    ['an id beyond reason', { model: { type: 'BPE', vocab: { a: 2 ** 40 }, merges: [] } }],
    ['an id that is no number', { model: { type: 'BPE', vocab: { a: 'x' }, merges: [] } }],
    ['an added token without text', { added_tokens: [{ id: 1 }] }],
    ['added tokens that are no list', { added_tokens: {} }],
    ['a sequence of no decoders', { decoder: { type: 'Sequence' } }],
    ['a sequence of no pre-tokenizers', { pre_tokenizer: { type: 'Sequence', pretokenizers: {} } }],
    ['an unknown normalizer', { normalizer: { type: 'Upside' } }],
  ];
  test.each(broken)('a tokenizer.json with %s is refused', (_, change) => {
    const json = { ...tokenizer, ...change };
    const source = { tokenizer: { kind: 'json', json } as const, addBos: false, eosIds: [] };
    const codes = expect.stringMatching(/^(MODEL_INCOMPLETE|UNSUPPORTED_TOKENIZER)$/);
    expect(() => new Tokenizer(source)).toThrow(expect.objectContaining({ code: codes }));
  });
});
