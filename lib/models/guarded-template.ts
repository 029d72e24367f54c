import { AddedTokens, type AddedToken } from './added-tokens';
import { ChatTemplate, templateError, type RenderOptions, type TemplateTokens } from './chat-template';
import { invalidMessages, type ChatMessage } from './messages';
import type { Tokenizer } from './tokenizer';
import { argumentFormOf, type ArgumentForm } from './tool-calls';

/** A conversation as a prompt. */
export interface RenderedChat {
  /** The prompt, with `mark` in it wherever text from people might be read as a control token. */
  text: string;
  /** The character to take out after control tokens were found; see `EncodeOptions.mark`. */
  mark: string;
}

/** What a conversation is rendered with. */
export interface ChatRenderOptions extends RenderOptions {
  /**
   * End right behind the content of the last message, which is the assistant's, and let the model go on with it: the turn does not end, and
   * no answer is begun. What the content ends with stays, also where the template trims it. Defaults to false.
   */
  continueFinalMessage?: boolean;
}

/** Unicode's noncharacters first: nothing else has a use for them. Then characters for private use. */
const MARKS: readonly (readonly [first: number, last: number])[] = [
  [0xfdd0, 0xfdef],
  [0xe000, 0xf8ff],
];

const MAX_DEPTH = 64;

/**
 * A chat template of which only what it writes itself can become control tokens.
 *
 * A user who types `<|im_end|>` is heard saying that; the turn does not end. To this end a mark, a character that
 * occurs nowhere else, goes into every string that the template is given wherever a control token starts in it, or
 * could start if another string followed. Control tokens are found in the rendered prompt with the marks in place; then
 * these are taken out, and the stretches in between are encoded as plain text. Strings without control tokens are not
 * touched, so templates may look into them and cut them as they like.
 *
 * Not all files call their control tokens so: what a template writes into any conversation is guarded like one. Other
 * tokens that are found as a whole, such as `</think>` where only answers hold it, are left as they are.
 */
export class GuardedTemplate {
  private readonly template: ChatTemplate;
  /** What must not be read as a control token, in text as it is and in normalized text. */
  private readonly controls: AddedTokens;
  private readonly normalizedControls: AddedTokens | undefined;
  private takesArguments: ArgumentForm | undefined;

  /**
   * @param source The template's text.
   * @param tokens What it writes as BOS and EOS.
   * @param tokenizer The model's.
   * @throws ForetokenError `TEMPLATE_ERROR` if it is not Jinja.
   */
  constructor(
    private readonly source: string,
    tokens: TemplateTokens,
    private readonly tokenizer: Tokenizer,
  ) {
    this.template = new ChatTemplate(source, tokens);
    const { plain, normalized } = tokenizer.addedTokens;
    const all = [...plain, ...normalized];
    const written = this.writtenByTemplate(all.filter((token) => !token.special && isMarkup(token)));
    const isControl = ({ id, special }: AddedToken): boolean => special || written.has(id);
    this.controls = new AddedTokens(all.filter(isControl));
    const late = normalized.filter(isControl);
    this.normalizedControls = late.length > 0 ? new AddedTokens(late) : undefined;
  }

  /** What it takes arguments of tool calls for. */
  get argumentForm(): ArgumentForm {
    return (this.takesArguments ??= argumentFormOf(this.template));
  }

  /**
   * The prompt of a conversation and the mark in it.
   *
   * @param messages As `messagesForTemplate` and `withArguments` give them.
   * @throws ForetokenError `INVALID_MESSAGES` if no mark is left or something is nested too deep, `TEMPLATE_ERROR` if the
   *   template fails, ignores the tools or their calls, or leaves out a last message that is to be continued.
   */
  render(messages: readonly ChatMessage[], options: ChatRenderOptions = {}): RenderedChat {
    const { tools, variables = {}, continueFinalMessage = false, addGenerationPrompt } = options;
    const [mark, end] = unusedMarks([this.source, messages, tools ?? [], variables]);
    const guard = (value: unknown): unknown => this.guard(value, mark, 0);
    const guarded = messages.map((message) => ({ ...(guard(message) as ChatMessage), role: message.role }));
    const last = guarded[guarded.length - 1];
    if (continueFinalMessage) last.content = `${last.content as string}${end}`;
    const text = this.template.render(guarded, {
      tools: tools?.map(guard),
      variables: guard(variables) as object,
      addGenerationPrompt: continueFinalMessage ? false : addGenerationPrompt,
    });
    return { text: continueFinalMessage ? before(end, text) : text, mark };
  }

  /**
   * Which of some tokens the template itself writes, whatever is said, by id. One that it looks for in what is said, to
   * cut there, is not among them. All of them where it refuses to be looked at.
   */
  private writtenByTemplate(tokens: readonly AddedToken[]): Set<number> {
    if (tokens.length === 0) return new Set();
    try {
      const written = new Set(this.tokenizer.encode(this.template.render(sampleOf('x')), { special: true }));
      return new Set(
        tokens.filter(({ id, content }) => written.has(id) && !this.looksFor(content)).map(({ id }) => id),
      );
    } catch {
      return new Set(tokens.map(({ id }) => id));
    }
  }

  /** Whether the template treats messages with a text in them unlike others. */
  private looksFor(text: string): boolean {
    const timesKept = (inner: string): number => {
      const said = `x${inner}x`;
      return this.template.render(sampleOf(said)).split(said).length;
    };
    return timesKept(text) !== timesKept(unusedMarks([this.source, text])[0]);
  }

  /** A copy of a value with marks in all its strings, names of fields included. */
  private guard(value: unknown, mark: string, depth: number): unknown {
    if (typeof value === 'string') return this.guardText(value, mark);
    if (typeof value !== 'object' || value === null) return value;
    if (depth > MAX_DEPTH) throw invalidMessages(`something is nested more than ${MAX_DEPTH} deep`);
    if (Array.isArray(value)) return value.map((each) => this.guard(each, mark, depth + 1));
    const entries = Object.entries(value).map(([name, each]) => {
      return [this.guardText(name, mark), this.guard(each, mark, depth + 1)] as const;
    });
    return Object.fromEntries(entries);
  }

  /**
   * Puts a mark behind the first character of all that is, or could grow into, a control token: behind all characters
   * where it does so in normalized text.
   */
  private guardText(text: string, mark: string): string {
    const normalized = this.normalizedControls && this.tokenizer.normalize(text);
    if (normalized !== undefined && normalized !== text && !this.normalizedControls!.starts(normalized).next().done) {
      return text.replace(/.(?!\p{M})/gsu, `$&${mark}`);
    }
    let guarded = '';
    let from = 0;
    for (const start of this.controls.starts(text)) {
      guarded += text.slice(from, start + 1) + mark;
      from = start + 1;
    }
    return from === 0 ? text : guarded + text.slice(from);
  }
}

/** A conversation that every template knows, and in which no answer is the last turn: that is where templates write what answers hold. */
function sampleOf(content: string): ChatMessage[] {
  return ['user', 'assistant', 'user'].map((role) => ({ role, content }));
}

/** Letters between signs, as control tokens are written: blanks, words and rules are text wherever they stand. */
function isMarkup({ content }: AddedToken): boolean {
  return /^(?=.*\p{L})(?=.*[^\p{L}\p{M}\p{N}\s\u2581])/su.test(content);
}

/** The prompt up to the end of its last message, where a mark stands. */
function before(end: string, text: string): string {
  const at = text.lastIndexOf(end);
  if (at >= 0) return text.slice(0, at);
  throw templateError('it leaves out the content of the last message, so that can not be continued');
}

/** Two characters that occur in none of the strings in a value. */
function unusedMarks(value: unknown): [string, string] {
  const used = new Set<number>();
  collectCandidates(value, used, 0);
  const unused: string[] = [];
  for (const [first, last] of MARKS) {
    for (let code = first; code <= last; code++) {
      if (!used.has(code)) unused.push(String.fromCharCode(code));
      if (unused.length === 2) return [unused[0], unused[1]];
    }
  }
  throw invalidMessages('they use every noncharacter and every character for private use');
}

function collectCandidates(value: unknown, used: Set<number>, depth: number): void {
  if (depth > MAX_DEPTH) throw invalidMessages(`something is nested more than ${MAX_DEPTH} deep`);
  if (typeof value === 'string') {
    for (const [character] of value.matchAll(/[\ufdd0-\ufdef\ue000-\uf8ff]/g)) used.add(character.charCodeAt(0));
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, each] of Object.entries(value)) {
      collectCandidates(name, used, depth + 1);
      collectCandidates(each, used, depth + 1);
    }
  }
}
