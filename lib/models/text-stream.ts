const SPACE = 0x20;

/** How to turn tokens into text. */
export interface DecodeOptions {
  /** Control tokens are written out. Defaults to false. */
  special?: boolean;
  /**
   * The tokens start a text, as the answer in a chat does: the blank that sentencepiece puts before one is dropped.
   * Defaults to true for `decode`, and to false for `TextStream`, whose tokens go on where others ended.
   */
  start?: boolean;
}

/** What tokens add to a text. */
export interface TokenTexts {
  /** Decoding drops the blank before a text's first word. */
  readonly dropsLeadingSpace: boolean;
  /** Whether a token is a control token, which structures prompts and is no part of a text. */
  isSpecial(id: number): boolean;
  /** What a token adds to a text, control tokens included; empty for ids that are none. Not to be changed. */
  tokenBytes(id: number): Uint8Array;
}

/**
 * Turns tokens into text as they come. A character whose bytes are spread over several tokens appears when its last
 * byte has come; what was put in equals what comes out, however it is cut up.
 */
export class TextStream {
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  private dropsSpace: boolean;

  /**
   * @param tokenizer Whose tokens they are.
   * @param options See `DecodeOptions`.
   */
  constructor(
    private readonly tokenizer: TokenTexts,
    private readonly options: DecodeOptions = {},
  ) {
    this.dropsSpace = options.start === true && tokenizer.dropsLeadingSpace;
  }

  /** Adds tokens; the text that is now certain. */
  push(ids: Iterable<number>): string {
    let text = '';
    for (const id of ids) {
      if (!this.options.special && this.tokenizer.isSpecial(id)) continue;
      let bytes = this.tokenizer.tokenBytes(id);
      if (bytes.length === 0) continue;
      if (this.dropsSpace && bytes[0] === SPACE) bytes = bytes.subarray(1);
      this.dropsSpace = false;
      text += this.decoder.decode(bytes, { stream: true });
    }
    return text;
  }

  /** Ends the text; what an unfinished character leaves, if there is one. */
  end(): string {
    return this.decoder.decode();
  }
}
