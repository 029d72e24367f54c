import { inspect } from 'node:util';
import { ForetokenError } from '../error';

/** A piece of a message's text, as clients of OpenAI's interface write it. */
export interface TextPart {
  /** No other kind can be read. */
  type: 'text';
  /** Joined to the parts before with nothing in between. */
  text: string;
}

/** One message of a conversation; templates may look at fields beyond these. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, `tool`, ... */
  role: string;
  /** Text, in one piece or in parts that are joined with nothing in between; null or absent beside `tool_calls` alone. */
  content?: string | readonly TextPart[] | null;
  [field: string]: unknown;
}

/** A message as it may be given: also one of a program's own interface, which has no index signature. */
export type MessageLike = ChatMessage | Pick<ChatMessage, 'role' | 'content'>;

/** Roles become part of what templates write as control tokens, so they are names and nothing else. */
const ROLE = /^[A-Za-z][A-Za-z0-9_-]{0,31}$/;

/**
 * Messages in the shape that all templates know: text is one string. Everything else is as it was.
 *
 * @param messages What was given as messages.
 * @throws ForetokenError `INVALID_MESSAGES`, which says of the message at fault what would do.
 */
export function messagesForTemplate(messages: unknown): ChatMessage[] {
  if (!Array.isArray(messages)) throw invalidMessages('they are not an array; give one of { role, content }');
  if (messages.length === 0) throw invalidMessages('there are none');
  return Array.from(messages as unknown[], (message, index) => messageForTemplate(message, `message ${index}`));
}

/**
 * Checks that the last message is one to go on from.
 *
 * @throws ForetokenError `INVALID_MESSAGES`.
 */
export function checkContinues(messages: readonly ChatMessage[]): void {
  const { role, content, tool_calls: calls } = messages[messages.length - 1];
  if (role === 'assistant' && typeof content === 'string' && !hasCalls(calls)) return;
  throw invalidMessages(
    "with continueFinalMessage the last one must be the assistant's, with content and no tool_calls",
  );
}

/** Whether `tool_calls` of a message are some. */
export function hasCalls(calls: unknown): calls is unknown[] {
  return Array.isArray(calls) && calls.length > 0;
}

/** Whether a message calls tools. */
export function isCalling({ tool_calls: calls }: ChatMessage): boolean {
  return hasCalls(calls);
}

/** Whether a message says something, be it nothing but an empty text. */
export function hasContent({ content }: ChatMessage): boolean {
  return content !== undefined && content !== null;
}

/**
 * The messages with nothing said in the other way: in an empty text where there was no content, without content where calls had an empty
 * text beside them. Undefined where something is said everywhere.
 */
export function withNothingSaidOtherwise(messages: readonly ChatMessage[]): ChatMessage[] | undefined {
  if (!messages.every(hasContent)) return messages.map((each) => (hasContent(each) ? each : { ...each, content: '' }));
  const isEmpty = (each: ChatMessage): boolean => each.content === '' && isCalling(each);
  if (!messages.some(isEmpty)) return undefined;
  return messages.map((each) => (isEmpty(each) ? { ...each, content: null } : each));
}

/** The error of messages that can't be used. */
export function invalidMessages(what: string): ForetokenError {
  return new ForetokenError('INVALID_MESSAGES', `The messages can't be used: ${what}`);
}

function messageForTemplate(given: unknown, where: string): ChatMessage {
  if (typeof given !== 'object' || given === null)
    throw invalidMessages(`${where} is not an object; give { role, content }`);
  const message = { ...given } as ChatMessage;
  if (typeof message.role !== 'string' || !ROLE.test(message.role)) {
    throw invalidMessages(`${where} has the role ${inspect(message.role)}, which is not a plain name`);
  }
  // Where there is no content it stays null or absent: templates tell that from an empty text.
  if (hasContent(message)) message.content = textOf(message.content, where);
  else if (!hasCalls(message.tool_calls))
    throw invalidMessages(`${where} has no content, which only one with tool_calls may lack`);
  return message;
}

function textOf(content: unknown, where: string): string {
  if (typeof content === 'string') return content;
  if (Array.isArray(content)) return Array.from(content as unknown[], (part) => textOfPart(part, where)).join('');
  throw invalidMessages(`${where} has content of type ${typeof content}; give it a string, or parts ${TEXT_PART}`);
}

const TEXT_PART = "like { type: 'text', text: '...' }";

function textOfPart(part: unknown, where: string): string {
  const { type, text } = (part ?? {}) as Partial<Record<keyof TextPart, unknown>>;
  if (type === 'text' && typeof text === 'string') return text;
  const what = type === 'text' ? `whose text is ${inspect(text)}` : `of type ${inspect(type)}`;
  throw invalidMessages(`${where} has a part ${what}; only text can be read: give it parts ${TEXT_PART}`);
}
