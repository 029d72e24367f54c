import type { ChatTemplate } from './chat-template';
import { hasCalls, invalidMessages, type ChatMessage } from './messages';

/** What a template takes arguments of tool calls for: an object, which it writes as JSON itself, or text that it writes as it is. */
export type ArgumentForm = 'object' | 'text';

const PROBE = { argument: 'probe of arguments' };

/** Finds out what a template takes. Where neither comes through it is an object, as transformers has it. */
export function argumentFormOf(template: ChatTemplate): ArgumentForm {
  const writes = (given: unknown): boolean => [null, ''].some((content) => writesArguments(template, given, content));
  return !writes(PROBE) && writes(JSON.stringify(PROBE)) ? 'text' : 'object';
}

/** `content`: some templates look for calls only where there is none, others fail there. */
function writesArguments(template: ChatTemplate, given: unknown, content: string | null): boolean {
  const call = { id: 'call00000', type: 'function', function: { name: 'probe', arguments: given } };
  try {
    const called = { role: 'assistant', content, tool_calls: [call] };
    return template.render([{ role: 'user', content: 'x' }, called]).includes(PROBE.argument);
  } catch {
    return false;
  }
}

/**
 * Messages with the arguments of their tool calls as a template takes them. Clients of OpenAI's interface send them as JSON; text that is
 * no object in JSON stays as it is.
 *
 * @param template Is asked where there are calls.
 * @throws ForetokenError `INVALID_MESSAGES` for arguments that can't be written as JSON.
 */
export function withArguments(
  messages: readonly ChatMessage[],
  template: { readonly argumentForm: ArgumentForm },
): readonly ChatMessage[] {
  return messages.map((message) => {
    const calls = message.tool_calls;
    if (!hasCalls(calls)) return message;
    return { ...message, tool_calls: calls.map((call) => callWithArguments(call, template.argumentForm)) };
  });
}

function callWithArguments(call: unknown, form: ArgumentForm): unknown {
  const called = recordOf(recordOf(call)?.function);
  const given = called?.arguments;
  const taken = form === 'text' ? jsonOf(recordOf(given)) : recordOf(parsedJson(given));
  return taken === undefined ? call : { ...(call as object), function: { ...called, arguments: taken } };
}

function jsonOf(value: Record<string, unknown> | undefined): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw invalidMessages(`arguments of a tool call are no JSON: ${(error as Error).message}`);
  }
}

/** What a text says as JSON; undefined where it is none. */
function parsedJson(text: unknown): unknown {
  if (typeof text !== 'string') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function recordOf(value: unknown): Record<string, unknown> | undefined {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isRecord ? (value as Record<string, unknown>) : undefined;
}
