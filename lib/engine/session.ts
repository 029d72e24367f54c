import { randomUUID } from 'node:crypto';
import type { GenerateResult } from '../decode/result';
import type { GenerateStream } from '../decode/stream';
import { ForetokenError } from '../error';
import { messagesForTemplate } from '../models/messages';
import type { ChatMessage, MessageLike } from '../models/messages';
import { readName } from './names';
import { readChatOptions } from './request-options';
import type { ChatOptions } from './request-options';
import { OptionReader, invalidOption } from './validate';

/** Options of a session: defaults for its requests, and how it begins. */
export interface SessionOptions extends Omit<
  ChatOptions,
  'session' | 'signal' | 'prediction' | 'continueFinalMessage'
> {
  /** Name under which the session's text is learned from. Defaults to a random one. */
  id?: string;
  /** A first message with the role 'system'. Defaults to none. */
  system?: string;
  /** Messages to go on from. Defaults to none. */
  messages?: readonly MessageLike[];
}

/** Checked options of a session. */
export interface CheckedSessionOptions {
  id: string;
  messages: ChatMessage[];
  /** What its requests are given. */
  defaults: Omit<SessionOptions, 'id' | 'system' | 'messages'>;
}

/**
 * Checks options of a session, those of its requests too, and fills in its own defaults. Throws INVALID_OPTION, INVALID_MESSAGES.
 *
 * @param vocabulary Token ids are below this.
 */
export function checkSessionOptions(options: SessionOptions | undefined, vocabulary: number): CheckedSessionOptions {
  const read = new OptionReader(options, 'options of a session');
  const { id = randomUUID(), system, messages = [], ...defaults } = options ?? {};
  if (readName(read, 'id', id) === '') throw invalidOption('id', 'a name', id);
  const first = { role: 'system', content: read.string('system', '') };
  if (!Array.isArray(read.raw('messages', messages))) throw invalidOption('messages', 'an array', messages);
  read.absent('its name is id', 'session');
  read.absent('each turn has its own', 'signal', 'prediction');
  read.absent('turns begin their answers', 'continueFinalMessage');
  readChatOptions(read, vocabulary);
  if (messages.length > 0) messagesForTemplate(messages);
  return { id, messages: [...(system === undefined ? [] : [first]), ...(messages as ChatMessage[])], defaults };
}

/** What a session asks of its engine. */
interface Answerer {
  chatStream(messages: readonly ChatMessage[], options: ChatOptions): GenerateStream;
  forget(what: { tenant?: string; group?: string; session?: string }): Promise<void>;
}

/** What a single turn may change: whose the session is stays. */
export type TurnOptions = Omit<ChatOptions, 'session' | 'tenant' | 'group' | 'continueFinalMessage'>;

/**
 * A conversation. Its earlier turns stay in the cache as long as there is room, and what was said in it is what drafts
 * come from first.
 *
 * @example
 * const session = engine.session({ system: 'You answer in one sentence.' });
 * const { text } = await session.prompt('Who wrote Faust?');
 * await session.prompt('And when?');
 * session.close();
 */
export class Session {
  /** Name under which the session's text is learned from. */
  readonly id: string;
  readonly #engine: Answerer;
  readonly #defaults: CheckedSessionOptions['defaults'];
  readonly #messages: ChatMessage[];
  #busy = false;
  #closed = false;

  /** Made by `engine.session`. */
  constructor(engine: Answerer, { id, messages, defaults }: CheckedSessionOptions) {
    this.id = id;
    this.#engine = engine;
    this.#messages = messages;
    this.#defaults = defaults;
  }

  /** The conversation so far. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /**
   * Says something and waits for the answer; both then belong to the conversation. A turn that fails leaves no trace. Nothing is left out
   * of a conversation that has filled the context: its turns fail with CONTEXT_EXCEEDED, and another session may begin with fewer `messages`.
   *
   * @throws ForetokenError as `engine.chat`, SESSION_BUSY while another turn runs, SESSION_CLOSED
   */
  async prompt(text: string, options?: TurnOptions): Promise<GenerateResult> {
    return this.stream(text, options).result;
  }

  /** Like {@link prompt}, with the answer as it comes. A turn that is left early keeps what came so far. */
  stream(text: string, options?: TurnOptions): GenerateStream {
    if (this.#closed) throw new ForetokenError('SESSION_CLOSED', 'The session is closed.');
    if (this.#busy) throw new ForetokenError('SESSION_BUSY', 'The session is answering; wait for that answer first.');
    const said: ChatMessage = { role: 'user', content: text };
    const read = new OptionReader(options, 'options of a turn');
    read.absent("it is the session's", 'tenant', 'group', 'session');
    read.absent('turns begin their answers', 'continueFinalMessage');
    // What a turn leaves out is the session's.
    const all = { ...this.#defaults, ...read.given(), session: this.id };
    const stream = this.#engine.chatStream([...this.#messages, said], all);
    this.#busy = true;
    stream.ended.then(
      (result) => {
        this.#busy = false;
        this.#messages.push(said, { role: 'assistant', content: result.text });
      },
      () => (this.#busy = false),
    );
    return stream;
  }

  /** Ends the session: what was learned from it alone is forgotten. An engine that is closed has forgotten it already. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { tenant = 'default', group } = this.#defaults;
    void this.#engine.forget({ tenant, group: group || undefined, session: this.id }).catch(() => undefined);
  }
}
