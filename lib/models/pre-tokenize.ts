import { ForetokenError } from '../error';
import { LibraryTokenizer } from './huggingface';
import { GPT2_SPLIT } from './pre-tokenizers';

/** A node of tokenizer.json: `{ "type": "...", ... }`. */
export type JsonConfig = { type?: unknown } & Record<string, unknown>;

/**
 * One step of cutting text into pieces that are encoded on their own. Steps are lazy, so that a long text can be cut
 * and encoded bit by bit.
 *
 * @param text A section of text, or a piece of the step before.
 * @param section Which section of the whole text it is part of; the first is 0.
 */
export type PreTokenizeStep = (text: string, section: number) => Iterable<string>;

/** What becomes of the matches of a split. */
const BEHAVIORS = ['Isolated', 'Removed', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext'] as const;
type Behavior = (typeof BEHAVIORS)[number];

/** Cuts at the matches of a regular expression (Oniguruma): they and what lies between them become pieces. */
export function isolatingSplit(regex: string): PreTokenizeStep {
  return splitStep({ Regex: regex }, 'Isolated', false);
}

/**
 * The steps that a `pre_tokenizer` of tokenizer.json stands for.
 *
 * The library's own Digits, Punctuation and ByteLevel know only ASCII digits, cut punctuation in runs and take U+FEFF
 * for a blank, all unlike the Rust original; those are rewritten as splits, whose expressions it translates faithfully.
 *
 * @returns The steps, and whether the pieces then go into the byte alphabet.
 * @throws ForetokenError `UNSUPPORTED_TOKENIZER` for what has no such steps.
 */
export function preTokenizeSteps(config: unknown): { steps: PreTokenizeStep[]; byteLevel: boolean } {
  const parts = flatten(config);
  const byteLevel = parts.at(-1)?.type === 'ByteLevel';
  if (parts.slice(0, -1).some((part) => part.type === 'ByteLevel')) {
    throw unsupported('a ByteLevel pre-tokenizer before others');
  }
  return { steps: parts.flatMap(stepsOf), byteLevel };
}

function flatten(config: unknown): JsonConfig[] {
  if (config === null || config === undefined) return [];
  const node = config as JsonConfig;
  return node.type === 'Sequence' ? listed('pretokenizers', node.pretokenizers).flatMap(flatten) : [node];
}

function stepsOf(config: JsonConfig): PreTokenizeStep[] {
  switch (config.type) {
    case 'Split':
      return [splitStep(config.pattern, behaviorOf(config.behavior), config.invert === true)];
    case 'Digits':
      return [splitStep({ Regex: '\\p{N}' }, config.individual_digits === true ? 'Isolated' : 'Contiguous', false)];
    case 'Punctuation':
      return [splitStep({ Regex: '[\\p{P}!-/:-@\\[-`{-~]' }, behaviorOf(config.behavior ?? 'Isolated'), false)];
    case 'ByteLevel':
      return [
        ...(config.add_prefix_space === true ? [prefixSpace] : []),
        ...(config.use_regex === false ? [] : [isolatingSplit(GPT2_SPLIT)]),
      ];
    case 'Metaspace':
      return [
        libraryStep(config),
        ...(config.split === false ? [] : [splitStep({ String: config.replacement }, 'MergedWithNext', false)]),
      ];
    default:
      return [libraryStep(config)];
  }
}

function behaviorOf(value: unknown): Behavior {
  const name = BEHAVIORS.find((behavior) => behavior.toLowerCase() === String(value).replaceAll('_', '').toLowerCase());
  if (!name) throw unsupported(`a split of behaviour "${String(value)}"`);
  return name;
}

function* prefixSpace(text: string): Iterable<string> {
  yield text.startsWith(' ') ? text : ` ${text}`;
}

/** A piece, and whether it is a match. */
type Cut = readonly [text: string, isMatch: boolean];

function splitStep(pattern: unknown, behavior: Behavior, invert: boolean): PreTokenizeStep {
  const regex = compile(pattern);
  return (text) => pieces(cuts(text, regex, invert), behavior);
}

function* cuts(text: string, regex: RegExp, invert: boolean): Generator<Cut> {
  let at = 0;
  for (const match of text.matchAll(regex)) {
    if (at < match.index) yield [text.slice(at, match.index), invert];
    if (match[0]) yield [match[0], !invert];
    at = match.index + match[0].length;
  }
  if (at < text.length) yield [text.slice(at), invert];
}

function* pieces(all: Iterable<Cut>, behavior: Behavior): Generator<string> {
  let held: Cut = ['', false];
  for (const cut of all) {
    const [text, isMatch] = cut;
    if (behavior === 'Removed') {
      if (!isMatch) yield text;
    } else if (joins(held, cut, behavior)) {
      held = [held[0] + text, isMatch];
    } else {
      if (held[0]) yield held[0];
      held = cut;
    }
  }
  if (held[0]) yield held[0];
}

function joins([text, wasMatch]: Cut, [, isMatch]: Cut, behavior: Behavior): boolean {
  if (!text) return false;
  if (behavior === 'Contiguous') return wasMatch === isMatch;
  if (behavior === 'MergedWithPrevious') return isMatch && !wasMatch;
  return behavior === 'MergedWithNext' && wasMatch && !isMatch;
}

/** The library knows how to say Oniguruma's expressions in JavaScript. */
function compile(pattern: unknown): RegExp {
  const config = { type: 'Split', pattern, behavior: 'Isolated', invert: false };
  const regex = libraryParts({ preTokenizer: config }).pre_tokenizer?.pattern;
  if (!regex) throw unsupported(`a split by ${JSON.stringify(pattern)}`);
  return regex;
}

function libraryStep(config: JsonConfig): PreTokenizeStep {
  const preTokenizer = libraryParts({ preTokenizer: config }).pre_tokenizer;
  if (!preTokenizer) throw unsupported(`the pre-tokenizer ${JSON.stringify(config)}`);
  return (text, section) => preTokenizer.pre_tokenize(text, { section_index: section });
}

/** The function that a `normalizer` of tokenizer.json stands for. */
export function normalizerOf(config: unknown): ((text: string) => string) | undefined {
  const { normalizer } = libraryParts({ normalizer: config });
  return normalizer ? (text) => normalizer.normalize(text) : undefined;
}

/** A library tokenizer for the sake of its parts; its model is empty. */
function libraryParts(parts: { normalizer?: unknown; preTokenizer?: unknown }): InstanceType<typeof LibraryTokenizer> {
  const json = {
    normalizer: parts.normalizer ?? null,
    pre_tokenizer: parts.preTokenizer ?? null,
    model: { type: 'BPE', vocab: {}, merges: [] },
    post_processor: null,
    decoder: null,
    added_tokens: [],
  };
  try {
    return new LibraryTokenizer(json, {});
  } catch (error) {
    throw unsupported(error instanceof Error ? error.message : String(error), error);
  }
}

/** A list in tokenizer.json. Throws MODEL_INCOMPLETE where it is none. */
export function listed(name: string, value: unknown): unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw incomplete(`in tokenizer.json ${name} is no list`);
}

/** An error about a tokenizer.json that is not what it should be. */
export function incomplete(message: string): ForetokenError {
  return new ForetokenError('MODEL_INCOMPLETE', `The model can't be used: ${message}`);
}

/** An error about a tokenizer.json that foretoken can't read. */
export function unsupported(what: string, cause?: unknown): ForetokenError {
  return new ForetokenError('UNSUPPORTED_TOKENIZER', `The tokenizer can't be used: ${what} is not supported`, {
    cause,
  });
}
