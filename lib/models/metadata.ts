import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ForetokenError } from '../error';
import type { TemplateTokens } from './chat-template';
import { endsByName, isEndName } from './end-names';
import type { GgufValue } from '../native';

/** The tokenizer part of a GGUF file's metadata. */
export interface GgufTokenizerData {
  /** `tokenizer.ggml.model`: gpt2 (byte-level BPE), llama (sentencepiece BPE), ... */
  model: string;
  /** `tokenizer.ggml.pre`. */
  pre?: string;
  tokens: string[];
  /** One per token, for sentencepiece vocabularies. */
  scores?: ArrayLike<number>;
  /** One per token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  types?: ArrayLike<number>;
  merges?: string[];
  unknownId?: number;
  addSpacePrefix: boolean;
}

/** Where a model's tokenizer comes from: a GGUF file's metadata, or a Hugging Face folder's tokenizer.json. */
export type TokenizerSource =
  { kind: 'gguf'; data: GgufTokenizerData } | { kind: 'json'; json: Record<string, unknown> };

/** So many tokens, or as many as a model was made for where those are fewer. */
export function contextUpTo(most: number, { contextLength }: Pick<ModelMetadata, 'contextLength'>): number {
  return Math.min(most, contextLength || Infinity);
}

/** What TypeScript needs to know of a model; sizes and weights are the native side's business. */
export interface ModelMetadata {
  architecture: string;
  /** The model's own name, for people. */
  name?: string;
  /** Tokens the model was made for; 0 if the file does not say. */
  contextLength: number;
  tokenizer: TokenizerSource;
  /** Jinja template of a conversation; undefined for models that were not made for one. */
  chatTemplate?: string;
  /** That of a conversation with tools, where it is another. */
  toolTemplate?: string;
  /** What templates write as BOS and EOS. Undefined where the files have ids alone: `bosId` and the first of `eosIds`. */
  templateTokens?: TemplateTokens;
  bosId?: number;
  /** Plain prompts start with the BOS token. */
  addBos: boolean;
  /** Tokens that end an answer, the file's own EOS first. */
  eosIds: number[];
}

/**
 * Model metadata out of a GGUF file's key-value pairs.
 *
 * @param values What the native reader found.
 * @throws ForetokenError `MODEL_INCOMPLETE` if the file lacks what is needed or has it in another shape.
 */
export function metadataFromGguf(values: Record<string, GgufValue>): ModelMetadata {
  const reader = new GgufReader(values);
  const architecture = reader.need('general.architecture', reader.text('general.architecture'));
  const tokens = reader.need('tokenizer.ggml.tokens', reader.texts('tokenizer.ggml.tokens'));
  const types = reader.numbers('tokenizer.ggml.token_type', tokens.length);
  const model = reader.need('tokenizer.ggml.model', reader.text('tokenizer.ggml.model'));
  const ids = ['eos', 'eot', 'eom'].map((name) => reader.id(`tokenizer.ggml.${name}_token_id`, tokens.length));
  const named = [...tokens.keys()].filter((id) => endsByName(tokens[id], types?.[id]));
  const pre = reader.text('tokenizer.ggml.pre');
  return {
    architecture,
    name: reader.text('general.name'),
    contextLength: reader.number(`${architecture}.context_length`) ?? 0,
    tokenizer: {
      kind: 'gguf',
      data: {
        model,
        pre,
        tokens,
        types,
        scores: reader.numbers('tokenizer.ggml.scores', tokens.length),
        merges: reader.texts('tokenizer.ggml.merges'),
        unknownId: reader.id('tokenizer.ggml.unknown_token_id', tokens.length),
        addSpacePrefix: reader.flag('tokenizer.ggml.add_space_prefix') ?? model === 'llama',
      },
    },
    chatTemplate: reader.text('tokenizer.chat_template'),
    toolTemplate: reader.text('tokenizer.chat_template.tool_use'),
    bosId: reader.id('tokenizer.ggml.bos_token_id', tokens.length),
    addBos: reader.flag('tokenizer.ggml.add_bos_token') ?? addsBosByDefault(model, pre),
    eosIds: distinct([...ids, ...named]),
  };
}

/** llama.cpp's rule for files that do not say. */
function addsBosByDefault(model: string, pre: string | undefined): boolean {
  return model === 'llama' || /^(llama3|llama-v3|llama-bpe|falcon3|falcon-h1|pixtral|tekken)$/.test(pre ?? '');
}

/**
 * Model metadata out of a Hugging Face folder: config.json and tokenizer.json, and where they exist
 * tokenizer_config.json, generation_config.json and files of templates.
 *
 * @throws ForetokenError `MODEL_INCOMPLETE` if a file is missing or is not what it should be.
 */
export async function metadataFromFolder(folder: string): Promise<ModelMetadata> {
  const config = await needJson(folder, 'config.json');
  const tokenizer = await needJson(folder, 'tokenizer.json');
  const tokenizerConfig = await readJson(folder, 'tokenizer_config.json');
  const generation = await readJson(folder, 'generation_config.json');
  const added = arrayOf(tokenizer.added_tokens).map(recordOf);
  const idOf = (token: unknown): number | undefined =>
    numberOf(added.find(({ content }) => content === tokenText(token))?.id);
  const ends = [generation?.eos_token_id, config.eos_token_id].flatMap((value) => arrayOf(value ?? []));
  const named = added.filter((each) => isEndName(String(each.content)));
  const bosId = idOf(tokenizerConfig?.bos_token) ?? numberOf(config.bos_token_id);
  return {
    architecture: typeof config.model_type === 'string' ? config.model_type : '',
    contextLength: numberOf(config.max_position_embeddings) ?? 0,
    tokenizer: { kind: 'json', json: tokenizer },
    ...(await templatesOf(folder, tokenizerConfig?.chat_template)),
    templateTokens: tokenizerConfig && templateTokensOf(tokenizerConfig),
    bosId,
    addBos: tokenizerConfig?.add_bos_token === true || startsWithBos(recordOf(tokenizer.post_processor), bosId),
    eosIds: distinct([
      ...ends.map(numberOf),
      idOf(tokenizerConfig?.eos_token),
      ...named.map((each) => numberOf(each.id)),
    ]),
  };
}

/** A folder's file with the template for tools. */
export const TOOL_TEMPLATE = 'additional_chat_templates/tool_use.jinja';

/**
 * The templates of a folder: files, or else what tokenizer_config.json has, as in transformers. That is one template, or several with
 * names.
 */
async function templatesOf(
  folder: string,
  configured: unknown,
): Promise<Pick<ModelMetadata, 'chatTemplate' | 'toolTemplate'>> {
  const chatTemplate = await readText(folder, 'chat_template.jinja');
  if (chatTemplate !== undefined) return { chatTemplate, toolTemplate: await readText(folder, TOOL_TEMPLATE) };
  if (typeof configured === 'string') return { chatTemplate: configured };
  const entries = arrayOf(configured ?? []).map(recordOf);
  const named = (wanted: string): string | undefined => textOf(entries.find(({ name }) => name === wanted)?.template);
  return { chatTemplate: named('default'), toolTemplate: named('tool_use') };
}

/** A token that tokenizer_config.json does not name is none, whatever ids the model's configuration has. */
function templateTokensOf(tokenizerConfig: Record<string, unknown>): TemplateTokens {
  return { bos: tokenText(tokenizerConfig.bos_token) ?? '', eos: tokenText(tokenizerConfig.eos_token) ?? '' };
}

/** The text of a token of tokenizer_config.json. */
function tokenText(token: unknown): string | undefined {
  return textOf(token) ?? textOf(recordOf(token).content);
}

/** Whether a post-processor puts the BOS token before a text. */
function startsWithBos(processor: Record<string, unknown>, bosId: number | undefined): boolean {
  if (processor.type === 'Sequence') {
    return arrayOf(processor.processors).some((each) => startsWithBos(recordOf(each), bosId));
  }
  if (processor.type !== 'TemplateProcessing' || bosId === undefined) return false;
  const first = recordOf(recordOf(arrayOf(processor.single)[0]).SpecialToken).id;
  const ids = recordOf(recordOf(processor.special_tokens)[String(first)]).ids;
  return arrayOf(ids ?? [])[0] === bosId;
}

async function readText(folder: string, name: string): Promise<string | undefined> {
  return readFile(join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw incomplete(`${join(folder, name)} can't be read`, error);
  });
}

async function needJson(folder: string, name: string): Promise<Record<string, unknown>> {
  const value = await readJson(folder, name);
  if (value === undefined) throw incomplete(`${folder} has no ${name}`);
  return value;
}

async function readJson(folder: string, name: string): Promise<Record<string, unknown> | undefined> {
  const text = await readText(folder, name);
  try {
    return text === undefined ? undefined : recordOf(JSON.parse(text));
  } catch (error) {
    throw incomplete(`${join(folder, name)} is not JSON`, error);
  }
}

/** Values of GGUF metadata, checked for their types; a missing one is undefined. */
class GgufReader {
  constructor(private readonly values: Record<string, GgufValue>) {}

  text(key: string): string | undefined {
    return this.typed(key, 'a string', (value) => (typeof value === 'string' ? value : undefined));
  }

  flag(key: string): boolean | undefined {
    return this.typed(key, 'a boolean', (value) => (typeof value === 'boolean' ? value : undefined));
  }

  number(key: string): number | undefined {
    return this.typed(key, 'a number', (value) => {
      const number = typeof value === 'bigint' ? Number(value) : value;
      return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
    });
  }

  /** A token id; -1 and its unsigned twin mean that there is none. */
  id(key: string, size: number): number | undefined {
    const id = this.number(key);
    if (id === undefined || id === -1 || id === 0xffffffff) return undefined;
    if (!Number.isInteger(id) || id < 0 || id >= size)
      throw incomplete(`${key} is ${id}, but there are ${size} tokens`);
    return id;
  }

  texts(key: string): string[] | undefined {
    return this.typed(key, 'a list of strings', (value) => {
      const list = Array.isArray(value) ? (value as unknown[]) : undefined;
      return list?.every((each) => typeof each === 'string') ? list : undefined;
    });
  }

  numbers(key: string, length: number): ArrayLike<number> | undefined {
    const list = this.typed(key, 'a list of numbers', (value) => {
      if (ArrayBuffer.isView(value)) return value;
      const plain = Array.isArray(value) ? (value as unknown[]) : undefined;
      return plain?.every((each) => typeof each === 'number') ? plain : undefined;
    });
    if (list && list.length !== length) throw incomplete(`${key} has ${list.length} entries, not ${length}`);
    return list;
  }

  need<T>(key: string, value: T | undefined): T {
    if (value === undefined) throw incomplete(`the file has no ${key}`);
    return value;
  }

  private typed<T>(key: string, what: string, read: (value: GgufValue) => T | undefined): T | undefined {
    const value = this.values[key];
    if (value === undefined) return undefined;
    const result = read(value);
    if (result === undefined) throw incomplete(`${key} is not ${what}`);
    return result;
  }
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function arrayOf(value: unknown): unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [value];
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function distinct(ids: (number | undefined)[]): number[] {
  return [...new Set(ids.filter((id) => id !== undefined))];
}

function incomplete(message: string, cause?: unknown): ForetokenError {
  return new ForetokenError('MODEL_INCOMPLETE', `The model can't be used: ${message}`, { cause });
}

/** What a model's tokenizer is known by: two with the same hash give the same tokens. */
export function tokenizerHash({ tokenizer }: ModelMetadata): string {
  return createHash('sha256').update(JSON.stringify(tokenizer)).digest('hex').slice(0, 32);
}
