import { AddedTokens, type AddedToken } from './added-tokens';
import { Bpe } from './bpe';
import type { ModelMetadata } from './metadata';
import { inSlices } from './slices';
import { TextStream } from './text-stream';
import type { DecodeOptions, TokenTexts } from './text-stream';
import type { TokenizerDefinition } from './tokenizer-definition';
import { tokenizerFromGguf } from './tokenizer-from-gguf';
import { tokenizerFromJson } from './tokenizer-from-json';

/** How to turn text into tokens. */
export interface EncodeOptions {
  /**
   * Text of control tokens, like `<|im_end|>`, becomes those tokens. Defaults to false: text from people must not be
   * able to pose as the structure of a prompt.
   */
  special?: boolean;
  /** Start with the BOS token, if the model has one. Defaults to false; `Tokenizer.addBos` is what the model expects. */
  addBos?: boolean;
  /**
   * A character that is taken out after control tokens were found and before text is cut into pieces: it keeps apart
   * what must not be read as a control token. Defaults to none. See `Chat`.
   */
  mark?: string;
  /** Encoding ends with this many tokens: what follows is left out and not even looked at. Defaults to all. */
  most?: number;
}

/** Pieces encoded between two looks at the clock. */
const PIECES_PER_STEP = 64;

/** Turns text into a model's tokens and back. */
export class Tokenizer implements TokenTexts {
  /** Ids run from 0 to below this. */
  readonly size: number;
  readonly bosId: number | undefined;
  /** The model expects plain prompts to start with BOS. */
  readonly addBos: boolean;
  /** Tokens that end an answer. */
  readonly eosIds: ReadonlySet<number>;

  private readonly definition: TokenizerDefinition;
  private readonly bpe: Bpe;
  private readonly added: AddedTokens;
  private readonly addedAfterNormalizing: AddedTokens;
  private readonly special: ReadonlySet<number>;
  /** Control tokens by their text. */
  private readonly controlIds: ReadonlyMap<string, number>;

  /**
   * @param metadata Its tokenizer, BOS and EOS.
   * @throws ForetokenError `UNSUPPORTED_TOKENIZER`, `UNKNOWN_PRETOKENIZER` or `MODEL_INCOMPLETE`.
   */
  constructor(metadata: Pick<ModelMetadata, 'tokenizer' | 'bosId' | 'addBos' | 'eosIds'>) {
    const source = metadata.tokenizer;
    const definition = source.kind === 'gguf' ? tokenizerFromGguf(source.data) : tokenizerFromJson(source.json);
    this.definition = definition;
    this.size = definition.bytes.length;
    this.bosId = metadata.bosId;
    this.addBos = metadata.addBos && metadata.bosId !== undefined;
    this.eosIds = new Set(metadata.eosIds);
    this.bpe = new Bpe(definition.bpe);
    this.added = new AddedTokens(definition.added);
    this.addedAfterNormalizing = new AddedTokens(definition.addedAfterNormalizing);
    const controls = this.controlTokens().map((token) => token.id);
    this.special = new Set(controls);
    this.controlIds = new Map(controls.map((id) => [this.decode([id], { special: true, start: false }), id]));
  }

  /** The tokens of a text. Long texts block the event loop; see {@link encodeAsync}. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    const ids: number[] = [];
    const steps = this.encodeSteps(text, options, ids);
    while (!steps.next().done);
    return ids;
  }

  /**
   * The same tokens as {@link encode} gives, with pauses in which other work gets its turn.
   *
   * @param signal Ends the work early.
   * @throws ForetokenError `ABORTED`
   */
  async encodeAsync(text: string, options: EncodeOptions = {}, signal?: AbortSignal): Promise<number[]> {
    const ids: number[] = [];
    await inSlices(this.encodeSteps(text, options, ids), signal);
    return ids;
  }

  /** The text of some tokens. Bytes that are not UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const stream = new TextStream(this, { start: true, ...options });
    return stream.push(ids) + stream.end();
  }

  /** What a token adds to a text, control tokens included; empty for ids that are none. Not to be changed. */
  tokenBytes(id: number): Uint8Array {
    return this.definition.bytes[id] ?? NO_BYTES;
  }

  /** Whether a token is a control token, which structures prompts and is no part of a text. */
  isSpecial(id: number): boolean {
    return this.special.has(id);
  }

  /** The control token that has this text; undefined where none has. */
  controlToken(text: string): number | undefined {
    return this.controlIds.get(text);
  }

  /** The control tokens with their text. */
  controlTokens(): { id: number; content: string }[] {
    const { added, addedAfterNormalizing } = this.definition;
    return [...added, ...addedAfterNormalizing].filter((token) => token.special);
  }

  /** Tokens that are found in text as a whole, and those that are found so in normalized text. */
  get addedTokens(): { plain: readonly AddedToken[]; normalized: readonly AddedToken[] } {
    return { plain: this.definition.added, normalized: this.definition.addedAfterNormalizing };
  }

  /** A text as tokens of {@link addedTokens} that are found in normalized text see it. */
  normalize(text: string): string {
    return this.definition.normalize?.(text) ?? text;
  }

  /** Decoding drops the blank before a text's first word. */
  get dropsLeadingSpace(): boolean {
    return this.definition.dropsLeadingSpace;
  }

  /** Encodes into `out`, stopping now and then. */
  private *encodeSteps(text: string, options: EncodeOptions, out: number[]): Generator<void, void> {
    const { most = Infinity } = options;
    const steps = this.encodeSections(text, options, out);
    while (out.length < most && !steps.next().done) yield;
    out.length = Math.min(out.length, most);
  }

  private *encodeSections(text: string, options: EncodeOptions, out: number[]): Generator<void, void> {
    if (options.addBos && this.bosId !== undefined) out.push(this.bosId);
    let section = 0;
    for (const part of this.added.split(text, options.special ?? false, options.mark)) {
      if (typeof part !== 'string') out.push(part.id);
      else yield* this.encodeSection(part, section, options, out);
      section++;
      yield;
    }
  }

  private *encodeSection(text: string, section: number, options: EncodeOptions, out: number[]): Generator<void, void> {
    const { special = false, mark, most } = options;
    let count = 0;
    for (const part of this.addedAfterNormalizing.split(this.normalize(text), special, mark)) {
      if (typeof part !== 'string') {
        out.push(part.id);
        yield;
        continue;
      }
      for (const piece of this.pieces(mark ? part.replaceAll(mark, '') : part, section, 0)) {
        yield* this.bpe.encode(piece, out, most);
        if (++count % PIECES_PER_STEP === 0) yield;
      }
    }
  }

  private *pieces(text: string, section: number, step: number): Generator<string> {
    const cut = this.definition.steps[step];
    if (!cut) {
      yield text;
      return;
    }
    for (const piece of cut(text, section)) yield* this.pieces(piece, section, step + 1);
  }
}

const NO_BYTES = new Uint8Array();
