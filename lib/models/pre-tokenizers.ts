import { ForetokenError } from '../error';

/** How a byte-level vocabulary wants text cut before merging, and what goes with it. */
export interface PreTokenizer {
  /** Regular expressions (Oniguruma) applied one after the other: matches and what lies between them become pieces. */
  splits: readonly string[];
  /** See `BpeOptions.ignoreMerges`. */
  ignoreMerges: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';

/** GPT-2's own expression; also what tokenizer.json's `ByteLevel` uses. */
export const GPT2_SPLIT = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const LLAMA3_SPLIT =
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}` +
  '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const QWEN2_SPLIT = LLAMA3_SPLIT.replace('\\p{N}{1,3}', '\\p{N}');
const TEKKEN_SPLIT =
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*|\\p{N}` +
  '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const GPT4O_SPLIT =
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${CONTRACTIONS}?|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${CONTRACTIONS}?` +
  '|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const DEEPSEEK3_SPLIT =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+' +
  '| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

const gpt2 = { splits: [GPT2_SPLIT], ignoreMerges: false };
const digits = { splits: ['\\p{N}', GPT2_SPLIT], ignoreMerges: false };
const llama3 = { splits: [LLAMA3_SPLIT], ignoreMerges: true };
const llama3Merging = { splits: [LLAMA3_SPLIT], ignoreMerges: false };
const qwen2 = { splits: [QWEN2_SPLIT], ignoreMerges: false };
const deepseek3 = { splits: ['\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', DEEPSEEK3_SPLIT], ignoreMerges: false };

const byName: ReadonlyMap<string, PreTokenizer> = new Map<string, PreTokenizer>([
  [
    'default',
    {
      splits: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2_SPLIT, '\\p{N}+', '[0-9][0-9][0-9]'],
      ignoreMerges: false,
    },
  ],
  ['falcon', { splits: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT2_SPLIT, '[0-9][0-9][0-9]'], ignoreMerges: false }],
  ...['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'trillion'].map((name): [string, PreTokenizer] => [name, gpt2]),
  ...['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'].map(
    (name): [string, PreTokenizer] => [name, digits],
  ),
  ...['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'].map(
    (name): [string, PreTokenizer] => [name, llama3],
  ),
  ...['dbrx', 'smaug-bpe', 'chatglm-bpe'].map((name): [string, PreTokenizer] => [name, llama3Merging]),
  ...['qwen2', 'stablelm2', 'deepseek-r1-qwen', 'megrez', 'hunyuan', 'grok-2'].map((name): [string, PreTokenizer] => [
    name,
    qwen2,
  ]),
  ['tekken', { splits: [TEKKEN_SPLIT], ignoreMerges: true }],
  ...['gpt-4o', 'llama4'].map((name): [string, PreTokenizer] => [name, { splits: [GPT4O_SPLIT], ignoreMerges: false }]),
  [
    'deepseek-coder',
    { splits: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}'], ignoreMerges: false },
  ],
  ['deepseek-v3', deepseek3],
]);

/**
 * The pre-tokenizer that a GGUF file names in `tokenizer.ggml.pre`. The names and what they stand for are llama.cpp's.
 *
 * @param name The name; undefined for files that have none, which means `default`.
 * @throws ForetokenError `UNKNOWN_PRETOKENIZER` for a name that is not known: guessing would change what a model reads.
 */
export function preTokenizerNamed(name = 'default'): PreTokenizer {
  const found = byName.get(name);
  if (found) return found;
  throw new ForetokenError(
    'UNKNOWN_PRETOKENIZER',
    `The file wants its text split in a way named "${name}", which foretoken does not know. Known: ` +
      [...byName.keys()].join(', '),
  );
}
