/**
 * Hugging Face's tokenizer and template libraries. Their CommonJS builds are declared by files that TypeScript takes for
 * ESM, so they are required here, once, with the types named by hand.
 */

/* eslint-disable @typescript-eslint/no-require-imports */

type Tokenizers = typeof import('@huggingface/tokenizers', { with: { 'resolution-mode': 'import' } });
type Jinja = typeof import('@huggingface/jinja', { with: { 'resolution-mode': 'import' } });

/** The parts of a tokenizer that foretoken uses: normalizers and pre-tokenizers. */
export const { Tokenizer: LibraryTokenizer } = require('@huggingface/tokenizers') as Tokenizers;

/** Jinja templates as chat templates use them. */
export const { Template: JinjaTemplate } = require('@huggingface/jinja') as Jinja;
