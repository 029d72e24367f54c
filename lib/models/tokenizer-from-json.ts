import type { AddedToken } from './added-tokens';
import { bytesOfSpelling } from './byte-alphabet';
import { isEndName } from './end-names';
import { incomplete, listed, normalizerOf, preTokenizeSteps, unsupported } from './pre-tokenize';
import { byteOfToken, SPACE_SYMBOL, utf8, type TokenizerDefinition } from './tokenizer-definition';

type Json = Record<string, unknown>;

interface JsonAddedToken extends AddedToken {
  normalized?: boolean;
}

/**
 * The tokenizer that a Hugging Face tokenizer.json describes.
 *
 * @param json The parsed file.
 * @throws ForetokenError `UNSUPPORTED_TOKENIZER` for kinds other than BPE, `MODEL_INCOMPLETE` for a file that is not
 *   what it should be.
 */
export function tokenizerFromJson(json: Json): TokenizerDefinition {
  const model = (json.model ?? {}) as Json;
  const vocabulary = readVocabulary(model);
  const added = readAdded(json.added_tokens);
  const { steps, byteLevel } = preTokenizeSteps(json.pre_tokenizer);
  const normalize = normalizerOf(json.normalizer);
  const bytes = tokenBytes(vocabulary, added, flattenDecoders(json.decoder));
  const unknownId = typeof model.unk_token === 'string' ? vocabulary.get(model.unk_token) : undefined;
  // Control tokens are found as a whole or not at all, even where merges would lead to one.
  for (const token of added) if (token.special) vocabulary.delete(token.content);
  return {
    normalize,
    steps,
    bpe: {
      vocabulary,
      merges: readMerges(model.merges),
      byteLevel,
      byteFallback: model.byte_fallback === true,
      ignoreMerges: model.ignore_merges === true,
      fuseUnknown: model.fuse_unk === true,
      unknownId,
    },
    added: added.filter((token) => !isNormalized(token)),
    addedAfterNormalizing: added.filter(isNormalized).map((token) => {
      return normalize ? { ...token, content: normalize(token.content) } : token;
    }),
    bytes,
    dropsLeadingSpace: flattenDecoders(json.decoder).some(dropsLeadingSpace),
  };
}

function readVocabulary(model: Json): Map<string, number> {
  const vocab = model.vocab;
  const type = model.type ?? (Array.isArray(model.merges) ? 'BPE' : 'unnamed');
  if (type !== 'BPE') throw unsupported(`a tokenizer of kind ${JSON.stringify(type)}`);
  if (model.continuing_subword_prefix || model.end_of_word_suffix) throw unsupported('a prefix or suffix of subwords');
  if (typeof vocab !== 'object' || vocab === null) throw incomplete('tokenizer.json has no vocabulary');
  const vocabulary = new Map<string, number>();
  for (const [text, id] of Object.entries(vocab)) vocabulary.set(text, checkId(id, text));
  return vocabulary;
}

/** Ids beyond this are not a vocabulary's; tables by id would be made for them. */
const MAX_ID = 1 << 22;

function checkId(id: unknown, text: string): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < MAX_ID) return id;
  throw incomplete(`tokenizer.json gives ${JSON.stringify(text)} the id ${String(id)}`);
}

function readAdded(value: unknown): JsonAddedToken[] {
  return (listed('added_tokens', value ?? []) as JsonAddedToken[]).map((token) => {
    if (typeof token?.content !== 'string') throw incomplete('tokenizer.json has an added token without text');
    const special = token.special === true || isEndName(token.content);
    return { ...token, id: checkId(token.id, token.content), special };
  });
}

function isNormalized(token: JsonAddedToken): boolean {
  return token.normalized ?? !token.special;
}

function readMerges(value: unknown): [string, string][] {
  if (!Array.isArray(value)) throw incomplete('tokenizer.json has no merges');
  return value.map((merge: unknown) => {
    const parts = typeof merge === 'string' ? merge.split(' ') : merge;
    if (Array.isArray(parts) && parts.length === 2) return [String(parts[0]), String(parts[1])];
    throw incomplete(`tokenizer.json has the merge ${JSON.stringify(merge)}`);
  });
}

function flattenDecoders(config: unknown): Json[] {
  if (config === null || config === undefined) return [];
  const node = config as Json;
  return node.type === 'Sequence' ? listed('decoders', node.decoders).flatMap(flattenDecoders) : [node];
}

function dropsLeadingSpace(decoder: Json): boolean {
  if (decoder.type === 'Strip') return decoder.content === ' ' && Number(decoder.start) > 0;
  return decoder.type === 'Metaspace' && decoder.prepend_scheme !== 'never' && decoder.add_prefix_space !== false;
}

function tokenBytes(vocabulary: Map<string, number>, added: AddedToken[], decoders: Json[]): Uint8Array[] {
  const byteLevel = decoders.some((decoder) => decoder.type === 'ByteLevel');
  const fallback = decoders.some((decoder) => decoder.type === 'ByteFallback');
  const spaces = fallback || decoders.some((decoder) => decoder.type === 'Metaspace' || decoder.type === 'Replace');
  const bytes: Uint8Array[] = [];
  for (const [text, id] of vocabulary) {
    const byte = fallback ? byteOfToken(text) : undefined;
    if (byte !== undefined) bytes[id] = Uint8Array.of(byte);
    else if (byteLevel) bytes[id] = bytesOfSpelling(text) ?? utf8(text);
    else bytes[id] = utf8(spaces ? text.replaceAll(SPACE_SYMBOL, ' ') : text);
  }
  for (const { id, content } of added) bytes[id] = utf8(content);
  return Array.from(bytes, (each) => each ?? new Uint8Array());
}
