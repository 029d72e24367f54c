import type { AddedToken } from './added-tokens';
import type { BpeOptions } from './bpe';
import type { PreTokenizeStep } from './pre-tokenize';

/** Everything that makes a tokenizer, whichever file it was read from. */
export interface TokenizerDefinition {
  /** Rewrites a section of text before it is cut into pieces; undefined: nothing does. */
  normalize?: (text: string) => string;
  /** Cut a section into pieces, one after the other. */
  steps: PreTokenizeStep[];
  bpe: BpeOptions;
  /** Tokens found in text before anything else; they separate its sections. */
  added: AddedToken[];
  /** Tokens found in normalized text. */
  addedAfterNormalizing: AddedToken[];
  /** By id: what the token adds to a text. Empty for ids that have no token. */
  bytes: Uint8Array[];
  /** The blank that sentencepiece puts before a text is taken away again when it is decoded. */
  dropsLeadingSpace: boolean;
}

const encoder = new TextEncoder();

/** UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** What stands for a blank in sentencepiece vocabularies. */
export const SPACE_SYMBOL = '\u2581';

/** The byte that a sentencepiece token like `<0x0A>` stands for; undefined for any other text. */
export function byteOfToken(text: string): number | undefined {
  const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(text);
  return match ? parseInt(match[1], 16) : undefined;
}
