import { ForetokenError } from '../error';
import type { AddedToken } from './added-tokens';
import { bytesOfSpelling, spellBytes } from './byte-alphabet';
import { endsByName } from './end-names';
import type { GgufTokenizerData } from './metadata';
import { isolatingSplit, normalizerOf } from './pre-tokenize';
import { preTokenizerNamed } from './pre-tokenizers';
import { byteOfToken, SPACE_SYMBOL, utf8, type TokenizerDefinition } from './tokenizer-definition';

/** `tokenizer.ggml.token_type`. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;
const BYTE = 6;

/**
 * The tokenizer that a GGUF file describes.
 *
 * @throws ForetokenError `UNSUPPORTED_TOKENIZER` for kinds other than BPE, `UNKNOWN_PRETOKENIZER` for an unknown
 *   `tokenizer.ggml.pre`.
 */
export function tokenizerFromGguf(data: GgufTokenizerData): TokenizerDefinition {
  if (data.model === 'gpt2') return byteLevel(data);
  if (data.model === 'llama') return sentencepiece(data);
  throw new ForetokenError(
    'UNSUPPORTED_TOKENIZER',
    `The file's tokenizer is of kind "${data.model}"; foretoken reads "gpt2" and "llama" (byte-pair encodings)`,
  );
}

function byteLevel(data: GgufTokenizerData): TokenizerDefinition {
  const { splits, ignoreMerges } = preTokenizerNamed(data.pre);
  const vocabulary = new Map<string, number>();
  for (const [id, text] of data.tokens.entries()) {
    // A few files hold ordinary tokens as plain text instead of in the byte alphabet.
    if (isText(data, id)) vocabulary.set(bytesOfSpelling(text) ? text : spellBytes(utf8(text)), id);
  }
  const bytes = data.tokens.map((text, id) => (isPlain(data, id) ? bytesOfSpelling(text) : undefined) ?? utf8(text));
  return {
    steps: splits.map(isolatingSplit),
    bpe: { vocabulary, merges: readMerges(data.merges ?? []), byteLevel: true, ignoreMerges },
    added: addedTokens(data),
    addedAfterNormalizing: [],
    bytes,
    dropsLeadingSpace: false,
  };
}

function sentencepiece(data: GgufTokenizerData): TokenizerDefinition {
  const vocabulary = new Map<string, number>();
  for (const [id, text] of data.tokens.entries()) {
    if (isText(data, id) || typeOf(data, id) === BYTE) vocabulary.set(text, id);
  }
  const toSpace = { type: 'Replace', pattern: { String: ' ' }, content: SPACE_SYMBOL };
  const prefix = { type: 'Prepend', prepend: SPACE_SYMBOL };
  const merges = data.merges ? readMerges(data.merges) : mergesFromScores(data);
  return {
    normalize: normalizerOf({ type: 'Sequence', normalizers: data.addSpacePrefix ? [prefix, toSpace] : [toSpace] }),
    steps: wordsAreApart(vocabulary) ? [isolatingSplit(`${SPACE_SYMBOL}+[^${SPACE_SYMBOL}]*`)] : [],
    bpe: { vocabulary, merges, byteFallback: true, fuseUnknown: true, unknownId: data.unknownId },
    added: addedTokens(data),
    addedAfterNormalizing: [],
    bytes: data.tokens.map((text, id) => sentencepieceBytes(data, text, id)),
    dropsLeadingSpace: data.addSpacePrefix,
  };
}

function sentencepieceBytes(data: GgufTokenizerData, text: string, id: number): Uint8Array {
  const byte = typeOf(data, id) === BYTE ? byteOfToken(text) : undefined;
  if (byte !== undefined) return Uint8Array.of(byte);
  return utf8(isPlain(data, id) ? text.replaceAll(SPACE_SYMBOL, ' ') : text);
}

/** No token holds a blank behind something else, so merging never reaches across the start of a word. */
function wordsAreApart(vocabulary: ReadonlyMap<string, number>): boolean {
  const crossing = new RegExp(`[^${SPACE_SYMBOL}]${SPACE_SYMBOL}`);
  for (const text of vocabulary.keys()) if (crossing.test(text)) return false;
  return true;
}

function readMerges(merges: string[]): [string, string][] {
  return merges.map((merge) => {
    const at = merge.indexOf(' ', 1);
    return [merge.slice(0, Math.max(at, 0)), merge.slice(at + 1)];
  });
}

/**
 * Sentencepiece files have scores instead of merges: a token comes about from any two tokens that make it up, the
 * better its score the sooner. Ties go by the scores of the parts, as in Hugging Face's converter.
 */
function mergesFromScores(data: GgufTokenizerData): [string, string][] {
  const scores = data.scores;
  if (!scores) throw new ForetokenError('MODEL_INCOMPLETE', 'The file has neither merges nor scores for its tokenizer');
  const ids = new Map<string, number>();
  for (const [id, text] of data.tokens.entries()) if (isText(data, id)) ids.set(text, id);
  const merges: { left: string; right: string; score: number }[] = [];
  const scoreOf = (text: string): number => scores[ids.get(text)!];
  for (const [text, id] of ids) {
    const ways: typeof merges = [];
    for (let at = 1; at < text.length; at++) {
      const left = text.slice(0, at);
      const right = text.slice(at);
      if (ids.has(left) && ids.has(right)) ways.push({ left, right, score: scores[id] });
    }
    ways.sort((a, b) => scoreOf(b.left) - scoreOf(a.left) || scoreOf(b.right) - scoreOf(a.right));
    merges.push(...ways);
  }
  merges.sort((a, b) => b.score - a.score);
  return merges.map(({ left, right }) => [left, right]);
}

function typeOf(data: GgufTokenizerData, id: number): number {
  const type = data.types?.[id] ?? NORMAL;
  return endsByName(data.tokens[id], type) ? CONTROL : type;
}

/** Written in the vocabulary's own spelling rather than as plain text. */
function isPlain(data: GgufTokenizerData, id: number): boolean {
  const type = typeOf(data, id);
  return type === NORMAL || type === UNUSED;
}

/** Something that people's text may turn into: control tokens never are, even where merges would lead to one. */
function isText(data: GgufTokenizerData, id: number): boolean {
  const type = typeOf(data, id);
  return type === NORMAL || type === USER_DEFINED;
}

function addedTokens(data: GgufTokenizerData): AddedToken[] {
  const added: AddedToken[] = [];
  for (const [id, content] of data.tokens.entries()) {
    const type = typeOf(data, id);
    if (type === USER_DEFINED) added.push({ id, content, special: false });
    else if (type === CONTROL || type === UNKNOWN) added.push({ id, content, special: true });
  }
  return added;
}
