import type { DecodeOptions, Tokenizer } from './tokenizer';

const SPACE = 0x20;

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
    private readonly tokenizer: Tokenizer,
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
