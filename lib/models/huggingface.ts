/**
 * Hugging Face's tokenizer and template libraries. TypeScript takes their declarations for ESM's although CommonJS
 * builds are there, and those of the tokenizer library don't resolve; so both are required here, once, and what
 * foretoken uses of them is declared by hand.
 */

/* eslint-disable @typescript-eslint/no-require-imports */

/** The parts of the library's tokenizer that foretoken uses. */
interface LibraryTokenizer {
  normalizer: { normalize(text: string): string } | null;
  pre_tokenizer: {
    pre_tokenize(text: string, options: { section_index: number }): string[];
    /** Only that of a `Split` has one. */
    pattern?: RegExp | null;
  } | null;
}

interface LibraryTemplate {
  render(variables: Record<string, unknown>): string;
}

/** Takes a parsed tokenizer.json and tokenizer_config.json. */
export const { Tokenizer: LibraryTokenizer } = require('@huggingface/tokenizers') as {
  Tokenizer: new (json: object, config: object) => LibraryTokenizer;
};

/** Jinja templates as chat templates use them; takes the template's text. */
export const { Template: LibraryTemplate } = require('@huggingface/jinja') as {
  Template: new (source: string) => LibraryTemplate;
};
