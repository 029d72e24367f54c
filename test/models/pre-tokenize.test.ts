import { spellBytes } from '../../lib/models/byte-alphabet';
import { isolatingSplit, preTokenizeSteps, type PreTokenizeStep } from '../../lib/models/pre-tokenize';
import { preTokenizerNamed } from '../../lib/models/pre-tokenizers';
import { utf8 } from '../../lib/models/tokenizer-definition';
import { crc32 } from '../support/crc32';
import { readFixture } from '../support/golden';

interface SplitGolden {
  strings: string[];
  cases: { config?: object; name?: string; hashes: string }[];
}

const golden = readFixture<SplitGolden>('pre-tokenizers.json.gz');
const configured = golden.cases
  .filter(({ config }) => config)
  .map((each) => [JSON.stringify(each.config), each] as const);
const named = golden.cases.filter(({ name }) => name).map((each) => [each.name, each] as const);

function piecesOf(text: string, steps: PreTokenizeStep[], byteLevel: boolean): string[] {
  const pieces = steps.reduce((all, step) => all.flatMap((piece) => [...step(piece, 0)]), [text]);
  return byteLevel ? pieces.map((piece) => spellBytes(utf8(piece))) : pieces;
}

/** Strings that are cut in another way than by Hugging Face's Rust library. */
function differing(hashes: string, steps: PreTokenizeStep[], byteLevel: boolean): [string, string[]][] {
  const expected = Buffer.from(hashes, 'base64');
  return golden.strings.flatMap((text, index): [string, string[]][] => {
    const pieces = piecesOf(text, steps, byteLevel);
    const bytes = Buffer.from(pieces.map((piece) => `${piece}\n\0`).join(''));
    return crc32(bytes) === expected.readUInt32LE(index * 4) ? [] : [[text, pieces]];
  });
}

test.each(configured)('%s cuts text as the original does', (_, { config, hashes }) => {
  const { steps, byteLevel } = preTokenizeSteps(config);
  expect(differing(hashes, steps, byteLevel)).toEqual([]);
});

/** Names that transformers knows and we do not: they belong to architectures that are yet to come. */
const foreign = ['jina-v5-nano', 'kormo', 'f2llmv2', 'qwen35', 'kanana2', 'talkie', 'minimax-m2'];

test.each(named.filter(([name]) => !foreign.includes(name!)))(
  'what a GGUF file calls %s cuts text as in transformers',
  (name, { hashes }) => {
    const steps = preTokenizerNamed(name).splits.map(isolatingSplit);
    expect(differing(hashes, steps, true)).toEqual([]);
  },
);

test('a splitting of digits and GPT-2 pieces, as SmolLM2 has it', () => {
  const steps = preTokenizerNamed('smollm').splits.map(isolatingSplit);
  expect(piecesOf("it's  12  a b½", steps, false)).toEqual(['it', "'s", '  ', '1', '2', ' ', ' a', ' b', '½']);
});

test('what can not be read is refused', () => {
  const bad = [
    { type: 'Nothing' },
    { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' },
    { type: 'Split', pattern: { Regex: 'a' }, behavior: 'Scattered' },
    { type: 'Sequence', pretokenizers: [{ type: 'ByteLevel' }, { type: 'Digits' }] },
  ];
  for (const config of bad) {
    expect(() => preTokenizeSteps(config)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_TOKENIZER' }));
  }
});
