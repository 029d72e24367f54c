import fc from 'fast-check';
import { Bpe } from '../../lib/models/bpe';
import { metadataFromGguf } from '../../lib/models/metadata';
import { TextStream } from '../../lib/models/text-stream';
import { Tokenizer } from '../../lib/models/tokenizer';
import type { GgufValue } from '../../lib/native';
import { describeWithDefaultModel } from '../support/default-model';
import { readGgufMetadataPlainly } from '../support/gguf-metadata';
import { differingStrings, readFixture, type TokenizerGolden } from '../support/golden';

interface TinyGolden extends TokenizerGolden {
  kind: 'gpt-2' | 'llama3' | 'sentencepiece';
  tokenizer: { model: { vocab: Record<string, number>; merges: [string, string][] } } & Record<string, unknown>;
  control: string[];
}

/** Half of a character beyond the basic plane. */
const LONE_SURROGATE = /\p{Cs}/u;

const tiny = readFixture<TinyGolden[]>('tiny-tokenizers.json.gz');
const kinds = tiny.map((golden) => [golden.kind, golden] as const);

function fromJson(golden: TinyGolden): Tokenizer {
  return new Tokenizer({ tokenizer: { kind: 'json', json: golden.tokenizer }, addBos: false, eosIds: [] });
}

/** The metadata that a GGUF file would have of a tiny tokenizer. */
function ggufOf({ kind, tokenizer, control }: TinyGolden): Record<string, GgufValue> {
  const { vocab, merges } = tokenizer.model;
  const tokens = Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b]);
  const typeOf = (token: string): number => {
    if (control.includes(token)) return token === '<unk>' ? 2 : 3;
    return /^<0x..>$/.test(token) ? 6 : 1;
  };
  const common = {
    'general.architecture': 'llama',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': Int32Array.from(tokens, typeOf),
  };
  if (kind === 'sentencepiece') {
    const scores = Float32Array.from(tokens, (_, id) => -id);
    const rest = { 'tokenizer.ggml.scores': scores, 'tokenizer.ggml.unknown_token_id': 0 };
    return { ...common, ...rest, 'tokenizer.ggml.model': 'llama' };
  }
  const rest = { 'tokenizer.ggml.pre': kind, 'tokenizer.ggml.merges': merges.map((merge) => merge.join(' ')) };
  return { ...common, ...rest, 'tokenizer.ggml.model': 'gpt2' };
}

function fromGguf(golden: TinyGolden): Tokenizer {
  return new Tokenizer(metadataFromGguf(ggufOf(golden)));
}

describe.each(kinds)('a tiny tokenizer, %s', (_kind, golden) => {
  test('from tokenizer.json gives the ids and texts of transformers', () => {
    expect(differingStrings(fromJson(golden), golden)).toEqual([]);
  });

  test('from GGUF metadata gives the ids and texts of transformers', () => {
    expect(differingStrings(fromGguf(golden), golden)).toEqual([]);
  });

  test('gives the ids written out in the golden data', () => {
    const tokenizer = fromGguf(golden);
    for (const [index, special, plain] of golden.examples) {
      expect(tokenizer.encode(golden.strings[index], { special: true })).toEqual(special);
      expect(tokenizer.encode(golden.strings[index])).toEqual(plain);
    }
  });

  test('gives any text back', () => {
    const tokenizer = fromGguf(golden);
    // A sentencepiece vocabulary can't tell its own symbol for a blank from a blank.
    const text = fc.string({ unit: 'binary', maxLength: 40 }).filter((each) => !each.includes('\u2581'));
    fc.assert(
      fc.property(text, (each) => tokenizer.decode(tokenizer.encode(each)) === each),
      { numRuns: 500 },
    );
  });

  test('streams the same text however the tokens are cut up, never a broken character', () => {
    const tokenizer = fromGguf(golden);
    const cuts = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 30 }), cuts, (text, sizes) => {
        const ids = tokenizer.encode(text);
        const stream = new TextStream(tokenizer, { start: true });
        const parts: string[] = [];
        for (let at = 0, turn = 0; at < ids.length; turn++) {
          const size = sizes[turn % sizes.length];
          parts.push(stream.push(ids.slice(at, at + size)));
          at += size;
        }
        parts.push(stream.end());
        expect(parts.some((part) => LONE_SURROGATE.test(part))).toBe(false);
        expect(parts.join('')).toBe(tokenizer.decode(ids));
      }),
      { numRuns: 300 },
    );
  });

  test('control tokens come from text only when asked for, and are no part of decoded text unless asked for', () => {
    const tokenizer = fromGguf(golden);
    for (const { id, content } of tokenizer.controlTokens()) {
      expect(tokenizer.isSpecial(id)).toBe(true);
      const text = `a ${content}b`;
      expect(tokenizer.encode(text, { special: true })).toContain(id);
      expect(tokenizer.encode(text).some((each) => tokenizer.isSpecial(each))).toBe(false);
      expect(tokenizer.encode(content).some((each) => tokenizer.isSpecial(each))).toBe(false);
      expect(tokenizer.decode([id])).toBe('');
      expect(tokenizer.decode([id], { special: true })).toBe(content);
    }
  });

  test('encodes a long text in slices to the same ids, leaving turns to others', async () => {
    const tokenizer = fromGguf(golden);
    const text = golden.strings.join(' ').repeat(120) + 'w'.repeat(30_000); // many slices long on any machine
    let turns = 0;
    let timer = setImmediate(function count() {
      turns += 1;
      timer = setImmediate(count);
    });
    const ids = await tokenizer.encodeAsync(text);
    clearImmediate(timer);
    expect(turns).toBeGreaterThan(1);
    expect(ids).toEqual(tokenizer.encode(text));
  });
});

test('a long encoding can be cancelled', async () => {
  const tokenizer = fromGguf(tiny[0]);
  const cause = new Error('enough');
  const signal = AbortSignal.abort(cause);
  const encoding = tokenizer.encodeAsync('some words '.repeat(100_000), {}, signal);
  await expect(encoding).rejects.toMatchObject({ code: 'ABORTED', cause });
});

test.each(kinds)('of a text that is too long no more is encoded than asked for, %s', async (_kind, golden) => {
  const tokenizer = fromGguf(golden);
  const text = 'some words '.repeat(10_000);
  const whole = tokenizer.encode(text);
  const encode = jest.spyOn(Bpe.prototype, 'encode');
  for (const most of [1, 7, 500]) {
    encode.mockClear();
    expect(await tokenizer.encodeAsync(text, { most })).toEqual(whole.slice(0, most));
    expect(encode.mock.calls.length).toBeLessThan(most + 100);
  }
  encode.mockRestore();
  expect(tokenizer.encode(text, { most: whole.length + 1 })).toEqual(whole);
});

test('of a long piece no more is looked at than surely gives as many tokens', () => {
  const vocabulary = new Map([
    ['a', 0],
    ['aa', 1],
  ]);
  const bpe = new Bpe({ vocabulary, merges: [['a', 'a']] });
  const encode = (length: number, most?: number): number[] => {
    const ids: number[] = [];
    for (const pause of bpe.encode('a'.repeat(length), ids, most)) void pause;
    return ids;
  };
  expect(encode(100_000)).toHaveLength(50_000);
  expect(encode(100_000, 10)).toEqual(encode(20));
  expect(encode(30, 10)).toEqual(encode(30)); // short ones are remembered whole
});

test('BOS is added only where asked for', () => {
  const golden = tiny[1];
  const bos = golden.tokenizer.model.vocab['<s>'];
  const tokenizer = new Tokenizer(metadataFromGguf({ ...ggufOf(golden), 'tokenizer.ggml.bos_token_id': bos }));
  expect(tokenizer.addBos).toBe(true);
  expect(tokenizer.encode('hello')[0]).not.toBe(bos);
  expect(tokenizer.encode('hello', { addBos: true })[0]).toBe(bos);
});

test('a user-defined token is found in any text, and is part of it', () => {
  const values = ggufOf(tiny[0]);
  const tokens = [...(values['tokenizer.ggml.tokens'] as string[]), '<think>'];
  const types = Int32Array.from([...(values['tokenizer.ggml.token_type'] as Int32Array), 4]);
  const changed = { ...values, 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.token_type': types };
  const tokenizer = new Tokenizer(metadataFromGguf(changed));
  const id = tokens.length - 1;
  expect(tokenizer.encode('a<think>b')).toContain(id);
  expect(tokenizer.decode(tokenizer.encode('a<think>b'))).toBe('a<think>b');
});

test('a sentencepiece text that goes on keeps its leading blank', () => {
  const tokenizer = fromGguf(tiny[2]);
  const ids = tokenizer.encode('time');
  expect(tokenizer.decode(ids)).toBe('time');
  expect(tokenizer.decode(ids, { start: false })).toBe(' time');
});

test('a byte order mark is text like any other', () => {
  const tokenizer = fromGguf(tiny[0]);
  expect(tokenizer.decode(tokenizer.encode('\ufeffa'))).toBe('\ufeffa');
});

test('an unknown pre-tokenizer is refused by name, never guessed', () => {
  const values = { ...ggufOf(tiny[0]), 'tokenizer.ggml.pre': 'brand-new' };
  expect(() => new Tokenizer(metadataFromGguf(values))).toThrow(
    expect.objectContaining({ code: 'UNKNOWN_PRETOKENIZER', message: expect.stringContaining('brand-new') }),
  );
});

test('other kinds of tokenizers are refused', () => {
  const gguf = { ...ggufOf(tiny[0]), 'tokenizer.ggml.model': 't5' };
  const code = { code: 'UNSUPPORTED_TOKENIZER' };
  expect(() => new Tokenizer(metadataFromGguf(gguf))).toThrow(expect.objectContaining(code));
  const json = { ...tiny[0].tokenizer, model: { type: 'Unigram', vocab: [['a', 0]] } };
  const source = { tokenizer: { kind: 'json', json } as const, addBos: false, eosIds: [] };
  expect(() => new Tokenizer(source)).toThrow(expect.objectContaining(code));
});

describeWithDefaultModel("the default model's tokenizer", (path) => {
  const metadata = metadataFromGguf(readGgufMetadataPlainly(path));
  const tokenizer = new Tokenizer(metadata);

  test('gives the ids and texts of transformers on 10,000 strings', () => {
    const golden = readFixture<TokenizerGolden>('tokenizer-golden.json.gz');
    expect(golden.strings).toHaveLength(10_000);
    expect(differingStrings(tokenizer, golden)).toEqual([]);
    for (const [index, special, plain] of golden.examples) {
      expect(tokenizer.encode(golden.strings[index], { special: true })).toEqual(special);
      expect(tokenizer.encode(golden.strings[index])).toEqual(plain);
    }
  });

  test('its metadata say what a caller needs', () => {
    expect(metadata).toMatchObject({ architecture: 'llama', contextLength: 8192, bosId: 1, addBos: false });
    expect(metadata.eosIds).toEqual([2, 0]);
    expect(tokenizer.size).toBe(49_152);
    expect(tokenizer.decode([2], { special: true })).toBe('<|im_end|>');
  });
});
