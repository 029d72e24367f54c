import { resolve } from 'node:path';
import { ForetokenError, throwIfAborted } from '../error';
import type { NativeLoadOptions } from '../native';
import type { DriftEvent, LearningEvent } from '../speculators/events';
import { OptionReader, invalidOption } from './validate';

/** Weight formats by name; 'auto' keeps the file's bits. */
export const weightFormats = ['auto', 'f32', 'f16', 'bf16', 'fp8', 'nvfp4', 'mxfp4', 'q8_0', 'q4_0', 'q4_1'] as const;

/** How the weights are held in memory. */
export type WeightFormat = (typeof weightFormats)[number];

/** What loading is doing: fetching a model, and packing its weights. */
export interface LoadProgress {
  /**
   * `'download'`, `'verify'`, `'unpack'`, `'packing weights'`, or `'converting weights'` with their formats; and, once and with 0 of 0,
   * sentences for people, such as that packed weights are not cached.
   */
  stage: string;
  /** The file that is being worked on, where it is one. */
  file?: string;
  /** Bytes done, of weights numbers. */
  done: number;
  /** 0 where the end is not known. */
  total: number;
}

/** Options of `Engine.load`. */
export interface LoadOptions {
  /**
   * Weight format. 'auto' keeps the bits of the file; any other converts at load (and caches the result).
   * Defaults to `'auto'`. 'f32' is the exact reference path: slow.
   */
  weights?: WeightFormat;
  /**
   * What computes: 'cpu', or 'cuda' for an NVIDIA GPU (Hopper or Blackwell). Without a driver or such a device loading with 'cuda' fails
   * with code `CUDA_UNAVAILABLE`. Defaults to `'cpu'`.
   */
  backend?: 'cpu' | 'cuda';
  /** Threads that compute. Defaults to the physical cores this process may use. */
  threads?: number;
  /** Instruction set: 'portable', 'neon', 'avx2', 'avx512', 'avx512fp16' or 'amx'. Defaults to the best this processor has. */
  isa?: string;
  /** Tokens that one sequence may hold, prompt and answer together. Defaults to the model's own, at most 8192. */
  contextLength?: number;
  /** Sequences decoded together; more requests wait for their turn. At most 64. Defaults to `8`. */
  maxSequences?: number;
  /** Bytes for keys and values. Defaults to full contexts for all sequences, capped by what memory allows. */
  kvBytes?: number;
  /**
   * What keys and values are kept in: 'bf16', or 'fp8' in half the room, which with `backend: 'cuda'` alone exists (on the CPU loading fails
   * with code `UNSUPPORTED_KV_FORMAT`). As with `weights`, another format is another model, whose tokens may differ; drafts change none of
   * them either way. Defaults to `'bf16'`.
   */
  kvFormat?: 'bf16' | 'fp8';
  /**
   * Whether the engine may draft at all. With `false` it decodes plainly and remembers nothing, whatever other options say of drafting and
   * learning; the text is the same. Defaults to `true`.
   */
  speculation?: boolean | { enabled?: boolean };
  /**
   * Bytes that seen text with its indexes and keys may take together; a tenant may take a quarter of them. A tenant with little text takes
   * half a MiB. Beyond that the text of the tenant that was used longest ago makes room: with `keepLearned` it is written down first, and
   * found again with the tenant's next request; without it is forgotten ({@link EngineStats.droppedTexts} counts). Defaults to `256 MiB`.
   */
  indexBytes?: number;
  /**
   * Text that every request may draft from, of no tenant: the file of an {@link Engine.exportMemory} or of `foretoken train static`;
   * `true` takes the one that it made for the model in the cache folder, or else the one that ships, if there is any. Defaults to `true`.
   */
  memory?: string | boolean;
  /**
   * Draft head: a small network, trained for the model, that drafts where remembered text knows nothing. The path of a file that
   * `foretoken train static` wrote; `true` takes the one that it made in the cache folder, or else the one that ships for the model, if there is any. Its drafts
   * cost a tenth of a pass: it pays where passes of several rows are cheap. Defaults to `learnHead`.
   */
  head?: string | boolean;
  /**
   * Whether the draft head learns from what is decoded: for each tenant a head of its own, on a thread of the lowest priority, that
   * drafts only after it has been found to save time. Defaults to `false`.
   */
  learnHead?: boolean;
  /**
   * Whether what tenants taught is kept in the cache folder when the engine is closed, and found again: remembered text, and each head
   * as soon as it is promoted. An engine holds what 4096 tenants and groups taught, those seen last: of others text is kept as soon as they
   * are let go of, and found again with their next request; without this option it is forgotten. After an update of the weights nothing
   * more is kept; an event says so. Defaults to `false`.
   */
  keepLearned?: boolean;
  /** Receives what learning decides, with its evidence, and that a drafter fails more often than it used to. */
  onEvent?: (event: LearningEvent | DriftEvent) => void;
  /**
   * Tokens that a sequence may run ahead of its consumer before it is paused. A paused one gives its place to others
   * that wait for one, and waits for one itself when its consumer reads again. Defaults to `64`.
   */
  runAhead?: number;
  /** Folder for downloads and converted weights. Defaults to `FORETOKEN_HOME`, else the user's cache folder. */
  cacheFolder?: string;
  /** Called while loading, for progress bars. Where it throws it is called no more, and loading ends as by its signal, with that error. */
  onProgress?: (progress: LoadProgress) => void;
  /**
   * Aborts loading: at once while files are fetched, otherwise before its next step. Native code that reads and packs weights, or measures
   * passes, is not interrupted: loading then ends behind it, and holds nothing.
   */
  signal?: AbortSignal;
  /** Receives lines for people, such as a format that had to be converted. Silent by default. */
  logger?: (line: string) => void;
}

/** Checked options of `Engine.load`. */
export interface CheckedLoadOptions {
  native: Omit<NativeLoadOptions, 'cacheFolder' | 'head' | 'heads' | 'tokenizer'>;
  memory: string | boolean;
  head: string | boolean;
  keepLearned: boolean;
  onEvent: (event: LearningEvent | DriftEvent) => void;
  cacheFolder: string | undefined;
  /** Never throws. */
  onProgress: (progress: LoadProgress) => void;
  /** Aborted where the caller wants loading to end, or its `onProgress` has thrown. */
  signal: AbortSignal;
  /** Throws what loading ends with where its signal is aborted: ABORTED, or what `onProgress` has thrown. */
  throwIfEnded: () => void;
  logger: (line: string) => void;
}

/** 64 TiB: more than any machine has. */
const mostBytes = 2 ** 46;

/** Checks options of `Engine.load` and fills in the defaults. Throws INVALID_OPTION, UNSUPPORTED_KV_FORMAT. */
export function checkLoadOptions(options: LoadOptions | undefined): CheckedLoadOptions {
  const read = new OptionReader(options, 'options of Engine.load');
  const learn = read.boolean('learnHead', false);
  const keepLearned = read.boolean('keepLearned', false);
  const checked = {
    native: {
      weights: read.oneOf('weights', 'auto', weightFormats),
      backend: read.oneOf('backend', 'cpu', ['cpu', 'cuda'] as const),
      threads: read.integer('threads', 0, 1, 256),
      isa: read.string('isa', ''),
      contextLength: read.integer('contextLength', 0, 16, 1 << 24),
      maxSequences: read.integer('maxSequences', 8, 1, 64),
      kvBytes: read.integer('kvBytes', 0, 1, mostBytes),
      kvFormat: read.oneOf('kvFormat', 'bf16', ['bf16', 'fp8'] as const),
      speculation: readSpeculation(read),
      indexBytes: read.integer('indexBytes', 256 << 20, 0, mostBytes),
      keepsDropped: keepLearned,
      runAhead: read.integer('runAhead', 64, 1, 1 << 24),
      learn,
    },
    memory: readFileChoice(read, 'memory', true),
    head: readFileChoice(read, 'head', learn),
    keepLearned,
    onEvent: readListener(read),
    cacheFolder: readCacheFolder(read),
    ...readEnds(read),
    logger: read.callback<(line: string) => void>('logger') ?? (() => undefined),
  };
  read.finish();
  const { backend, kvFormat } = checked.native;
  if (backend === 'cpu' && kvFormat !== 'bf16')
    throw new ForetokenError(
      'UNSUPPORTED_KV_FORMAT',
      `kvFormat '${kvFormat}' needs backend 'cuda': the CPU keeps keys and values in bf16.`,
    );
  return checked;
}

function readSpeculation(read: OptionReader): boolean {
  const value = read.raw('speculation');
  if (value === undefined || typeof value === 'boolean') return value ?? true;
  if (typeof value !== 'object' || value === null) {
    throw invalidOption('speculation', 'a boolean or an object', value);
  }
  const inner = new OptionReader(value, 'speculation', 'speculation.');
  const enabled = inner.boolean('enabled', true);
  inner.finish();
  return enabled;
}

function readFileChoice(read: OptionReader, name: 'memory' | 'head', standard: boolean): string | boolean {
  const value = read.raw(name, standard);
  if (typeof value === 'boolean' || (typeof value === 'string' && value !== '')) return value;
  throw invalidOption(name, 'a path or a boolean', value);
}

/** What ends loading before its time. Progress is told by code that must not fail for it: the next one who looks throws its error. */
function readEnds(read: OptionReader): Pick<CheckedLoadOptions, 'onProgress' | 'signal' | 'throwIfEnded'> {
  const listener = read.callback<CheckedLoadOptions['onProgress']>('onProgress');
  const signal = read.signal('signal');
  const failed = new AbortController();
  return {
    onProgress: (progress) => {
      if (failed.signal.aborted) return;
      try {
        listener?.(progress);
      } catch (error) {
        failed.abort(error);
      }
    },
    signal: AbortSignal.any([failed.signal, ...(signal ? [signal] : [])]),
    throwIfEnded: () => {
      failed.signal.throwIfAborted();
      throwIfAborted(signal);
    },
  };
}

/** Called after what is going on: what it throws is an uncaught exception, and no request's error. */
function readListener(read: OptionReader): CheckedLoadOptions['onEvent'] {
  const listener = read.callback<CheckedLoadOptions['onEvent']>('onEvent');
  return (event) => {
    if (listener) queueMicrotask(() => listener(event));
  };
}

/** Absolute, so that it stays where it is when the process moves to another folder. */
function readCacheFolder(read: OptionReader): string | undefined {
  const value = read.string('cacheFolder', '');
  return value === '' ? undefined : resolve(value);
}
