import { randomBytes } from 'node:crypto';
import { ForetokenError } from '../error';
import { givenVariables } from '../models/chat-template';
import type { ChatRenderOptions } from '../models/guarded-template';
import { Drafter, Learn } from '../native';
import { readName, readTenant } from './names';
import { OptionReader, describe, invalidOption } from './validate';

/**
 * Who drafts for a request: `'auto'`, everybody, round by round whoever is worth most; `'static'`, everybody, but from nothing that earlier
 * requests have taught: the request's own text, the memory and the head that came with the model; or one drafter alone.
 */
export type Speculator = 'auto' | 'static' | 'suffix' | 'recall' | 'prediction' | 'head';
const speculators: readonly Speculator[] = ['auto', 'static', 'suffix', 'recall', 'prediction', 'head'];

/** Options of one request. */
export interface RequestOptions {
  /** Most tokens to generate; the end of the context ends an answer too. Defaults to `1024`. */
  maxTokens?: number;
  /** 0 takes the likeliest token each time (deterministic); 1 draws from the model's distribution. Defaults to `0`. */
  temperature?: number;
  /** Draws from the k likeliest tokens; 0 = all. Defaults to `0`. */
  topK?: number;
  /** Draws from the likeliest tokens that together have this probability. Defaults to `1` (all). */
  topP?: number;
  /** Drops tokens less likely than this share of the likeliest one. Defaults to `0` (none). */
  minP?: number;
  /** Divides (or multiplies, below 0) the logits of tokens that were there already. Defaults to `1` (off). */
  repetitionPenalty?: number;
  /** Taken off the logit of each token generated already. Defaults to `0`. */
  presencePenalty?: number;
  /** Taken off the logit of a token for every time it was generated. Defaults to `0`. */
  frequencyPenalty?: number;
  /** Tokens that penalties look back on; 0 = all. Defaults to `0`. */
  penaltyWindow?: number;
  /** Added to the logit of tokens, by id; `-Infinity` bans a token, and one must be left. Defaults to none. */
  logitBias?: Record<number, number>;
  /**
   * Fixes the noise of sampling: the same seed, prompt and options give the same tokens, with speculation or without,
   * whatever else is running. Defaults to a random one.
   */
  seed?: number | bigint;
  /**
   * Ends the answer before the first of these strings. At most 16. One that is a control token's text, such as `<|im_end|>`, means that
   * token, too. Defaults to none.
   */
  stop?: string | readonly string[];
  /** Ends the answer at one of these tokens, besides the model's own end-of-text tokens. Defaults to none. */
  stopTokens?: readonly number[];
  /** Whether the model's own end-of-text tokens do not end the answer. Defaults to `false`. */
  ignoreEos?: boolean;
  /**
   * Whether control tokens are part of the text, as `detokenize` writes them with `special`: `[TOOL_CALLS]`, `<|python_tag|>` and the like
   * say what follows them. One that ends the answer never is. Defaults to `false`.
   */
  special?: boolean;
  /**
   * Log-probabilities of generated tokens, with this many alternatives each (0..20), under the model's own distribution: temperature,
   * filters, penalties and biases don't count. They are of the weights that drew the token: with `updateWeights` and `'restart'` an answer
   * may go on with others than it began with. Defaults to none.
   */
  logprobs?: number;
  /**
   * What the answer will probably be, or contain: used as a draft, never as a command. What is longer than the context is cut off.
   * Defaults to none.
   */
  prediction?: string;
  /** Nothing learned from one tenant's text serves another's, nor are cached prefixes shared. Defaults to `'default'`. */
  tenant?: string;
  /**
   * Tenants that want to learn together name the same group: what this request teaches serves all requests of the group, whatever their
   * tenant, and it is drafted for from what the group has learned instead of the tenant's own. Lasts as long as the engine; forgetting a
   * tenant drops all that groups have learned in which it has taken part. Defaults to none: a tenant learns alone.
   */
  group?: string;
  /** Requests with the same name learn from each other first. Defaults to none. */
  session?: string;
  /**
   * Whether later requests of the tenant may draft from this one's text; `'answer'`: from what the model wrote, not from the
   * prompt. Defaults to `true`.
   */
  learn?: boolean | 'answer';
  /** Aborts the request: it then fails with code ABORTED. */
  signal?: AbortSignal;
  /** Who drafts for this request, and how far. The text is the same whatever is said here. Defaults to `{}`. */
  speculation?: {
    /** Whether this request may be drafted for. Defaults to `true`. */
    enabled?: boolean;
    /** Tokens of the longest draft, at most 48. Defaults to `32`. */
    maxLookahead?: number;
    /** Who drafts. Defaults to `'auto'`. */
    speculator?: Speculator;
    /**
     * Whether to decode plainly and list in the result all that every drafter proposes at every position, and what of it was right: for
     * replaying other policies on the same text. Defaults to `false`.
     */
    record?: boolean;
  };
  /** Whether the result lists every pass of the model with its drafts. Defaults to `false`. */
  explain?: boolean;
}

/** What templates may look at, beside the messages, and where their prompt ends. */
export type TemplateOptions = Pick<ChatRenderOptions, 'tools' | 'variables' | 'continueFinalMessage'>;

/** Options of a chat: those of a request, and those of its template. */
export interface ChatOptions extends RequestOptions, TemplateOptions {}

/** Checked options of one request. */
export interface CheckedRequestOptions extends Required<
  Omit<RequestOptions, 'signal' | 'logitBias' | 'seed' | 'stop' | 'speculation' | 'ignoreEos' | 'stopTokens' | 'learn'>
> {
  seed: bigint;
  stop: string[];
  stopTokens: number[];
  ignoreEos: boolean;
  biasTokens: Int32Array;
  biasValues: Float32Array;
  learn: Learn;
  signal: AbortSignal | undefined;
  speculation: { enabled: boolean; maxLookahead: number; drafters: number; learned: boolean; record: boolean };
}

const maxStopStrings = 16;
/** Native code counts in 32 bits, and holds probabilities as 32-bit floats. */
const mostInteger = 2 ** 31 - 1;
const leastFloat = 2 ** -149;

/**
 * Checks options of a request and fills in the defaults. Throws INVALID_OPTION.
 *
 * @param vocabulary Token ids are below this.
 */
export function checkRequestOptions(options: RequestOptions | undefined, vocabulary: number): CheckedRequestOptions {
  return readRequestOptions(new OptionReader(options, 'options'), vocabulary);
}

/** Reads all that has not been read yet. Throws INVALID_OPTION. */
function readRequestOptions(read: OptionReader, vocabulary: number): CheckedRequestOptions {
  const checked: CheckedRequestOptions = {
    maxTokens: read.integer('maxTokens', 1024, 1),
    temperature: read.number('temperature', 0, 0, 100),
    topK: read.integer('topK', 0, 0, mostInteger),
    topP: readTopP(read),
    minP: read.number('minP', 0, 0, 1),
    repetitionPenalty: read.number('repetitionPenalty', 1, 0.01, 100),
    presencePenalty: read.number('presencePenalty', 0, -100, 100),
    frequencyPenalty: read.number('frequencyPenalty', 0, -100, 100),
    penaltyWindow: read.integer('penaltyWindow', 0, 0, mostInteger),
    ...readBias(read, vocabulary),
    seed: readSeed(read),
    stop: readStop(read),
    stopTokens: readStopTokens(read, vocabulary),
    ignoreEos: read.boolean('ignoreEos', false),
    special: read.boolean('special', false),
    logprobs: read.integer('logprobs', -1, 0, 20),
    prediction: read.string('prediction', ''),
    tenant: readTenant(read),
    group: readName(read, 'group', ''),
    session: readName(read, 'session', ''),
    learn: readLearn(read),
    signal: read.signal('signal'),
    speculation: readSpeculation(read),
    explain: read.boolean('explain', false),
  };
  read.finish();
  return checked;
}

function readTopP(read: OptionReader): number {
  const value = read.number('topP', 1, 0, 1);
  if (value >= leastFloat) return value;
  throw invalidOption('topP', 'a number above 0', value);
}

function readBias(read: OptionReader, vocabulary: number): { biasTokens: Int32Array; biasValues: Float32Array } {
  const value = read.raw('logitBias', {});
  if (typeof value !== 'object' || value === null || Symbol.iterator in value) {
    throw invalidOption('logitBias', 'an object of token ids and numbers', value);
  }
  const entries = Object.entries(value as Record<string, unknown>);
  const tokens = new Int32Array(entries.length);
  const values = new Float32Array(entries.length);
  entries.forEach(([key, bias], i) => {
    const token = Number(key);
    if (!/^\d+$/.test(key) || token >= vocabulary) {
      throw invalidOption('logitBias', `token ids 0..${vocabulary - 1}`, key);
    }
    if (typeof bias !== 'number' || Number.isNaN(bias)) throw invalidOption(`logitBias[${key}]`, 'a number', bias);
    tokens[i] = token;
    values[i] = bias;
  });
  const banned = new Set(tokens.filter((_, i) => values[i] === -Infinity));
  if (banned.size === vocabulary) throw invalidOption('logitBias', 'a token that is not banned', value);
  return { biasTokens: tokens, biasValues: values };
}

function readSeed(read: OptionReader): bigint {
  const value = read.raw('seed');
  if (value === undefined) return randomBytes(8).readBigUInt64LE();
  if (typeof value === 'bigint') return BigInt.asUintN(64, value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt.asUintN(64, BigInt(value));
  throw invalidOption('seed', 'a safe integer or a bigint', value);
}

function readStop(read: OptionReader): string[] {
  const value = read.raw('stop', []);
  const stops = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(stops) || stops.length > maxStopStrings) {
    throw invalidOption('stop', `a string or an array of at most ${maxStopStrings} strings`, value);
  }
  for (const stop of stops as unknown[]) {
    if (typeof stop !== 'string' || stop === '') throw invalidOption('stop', 'strings that are not empty', stop);
  }
  return [...new Set(stops as string[])];
}

function readStopTokens(read: OptionReader, vocabulary: number): number[] {
  const value = read.raw('stopTokens', []);
  if (!Array.isArray(value)) throw invalidOption('stopTokens', 'an array of token ids', value);
  return (value as unknown[]).map((token) => checkToken(token, vocabulary, 'stopTokens'));
}

function readLearn(read: OptionReader): Learn {
  const value = read.raw('learn', true);
  if (value === 'answer') return Learn.answer;
  if (typeof value === 'boolean') return value ? Learn.all : Learn.nothing;
  throw invalidOption('learn', "a boolean or 'answer'", value);
}

function readSpeculation(read: OptionReader): CheckedRequestOptions['speculation'] {
  const inner = new OptionReader(read.raw('speculation'), 'speculation', 'speculation.');
  const speculation = {
    enabled: inner.boolean('enabled', true),
    maxLookahead: inner.integer('maxLookahead', 32, 1, 48),
    ...readSpeculator(inner),
    record: inner.boolean('record', false),
  };
  inner.finish();
  return speculation;
}

/** Drafters as bits, 1 << id, and whether they look at what was learned. */
function readSpeculator(read: OptionReader): { drafters: number; learned: boolean } {
  const value = read.oneOf('speculator', 'auto', speculators);
  if (value === 'auto' || value === 'static') return { drafters: -1, learned: value === 'auto' };
  return { drafters: 1 << Drafter[value], learned: true };
}

/** Checks options of a chat, with those of its template. Throws INVALID_OPTION. */
export function checkChatOptions(
  options: ChatOptions | undefined,
  vocabulary: number,
): { request: CheckedRequestOptions; template: TemplateOptions } {
  return readChatOptions(new OptionReader(options, 'options'), vocabulary);
}

/** Reads all that has not been read yet. Throws INVALID_OPTION. */
export function readChatOptions(
  read: OptionReader,
  vocabulary: number,
): { request: CheckedRequestOptions; template: TemplateOptions } {
  const template = readTemplateOptions(read);
  return { request: readRequestOptions(read, vocabulary), template };
}

/** Reads the options of a template. Throws INVALID_OPTION. */
export function readTemplateOptions(read: OptionReader): TemplateOptions {
  const tools = read.raw('tools');
  if (tools !== undefined && !Array.isArray(tools)) throw invalidOption('tools', 'an array', tools);
  return {
    tools,
    variables: readVariables(read),
    continueFinalMessage: read.boolean('continueFinalMessage', false),
  };
}

/** Variables that templates are given anyhow would be ignored. */
function readVariables(read: OptionReader): object | undefined {
  const variables = read.raw('variables');
  if (variables === undefined) return undefined;
  if (typeof variables !== 'object' || variables === null || Array.isArray(variables))
    throw invalidOption('variables', 'an object', variables);
  for (const [name, value] of Object.entries(variables))
    if (value !== undefined && givenVariables.includes(name))
      throw invalidOption(`variables.${name}`, 'nothing (templates are given it anyhow)', value);
  return variables;
}

function checkToken(token: unknown, vocabulary: number, name: string): number {
  if (typeof token === 'number' && Number.isInteger(token) && token >= 0 && token < vocabulary) return token;
  throw invalidOption(name, `token ids 0..${vocabulary - 1}`, token);
}

/** A prompt: text (in which special tokens are plain text) or the tokens themselves. */
export type Prompt = string | readonly number[] | Int32Array;

/** Checks that tokens are a list of them, and of the vocabulary. Throws INVALID_PROMPT. */
export function checkTokens(tokens: readonly number[] | Int32Array, vocabulary: number): Int32Array {
  if (!Array.isArray(tokens) && !ArrayBuffer.isView(tokens))
    throw new ForetokenError('INVALID_PROMPT', `Expected an array of token ids but received ${describe(tokens)}`);
  for (let i = 0; i < tokens.length; ++i) {
    const token: unknown = tokens[i];
    if (typeof token === 'number' && Number.isInteger(token) && token >= 0 && token < vocabulary) continue;
    throw new ForetokenError('INVALID_PROMPT', `token ${i} is ${String(token)}, not a token id 0..${vocabulary - 1}`);
  }
  return Int32Array.from(tokens);
}
