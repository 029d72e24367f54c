import { isPromise } from 'node:util/types';

/** What an Error made by native code carries besides its message. */
interface NativeErrorFields {
  code?: unknown;
  file?: unknown;
  offset?: unknown;
}

/**
 * Every error that foretoken throws on purpose. `code` is stable, `message` is for people.
 *
 * @example
 * try {
 *   await Engine.load('model.gguf');
 * } catch (error) {
 *   if (error instanceof ForetokenError && error.file) console.error(error.code, error.file, error.offset);
 * }
 */
export class ForetokenError extends Error {
  /** Stable name of what went wrong, in SCREAMING_SNAKE_CASE. */
  readonly code: string;
  /** The file that was read, where the error is about one. */
  declare readonly file?: string;
  /** Byte offset in `file`, where known. */
  declare readonly offset?: number;

  constructor(code: string, message: string, options: { cause?: unknown; file?: string; offset?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ForetokenError';
    this.code = code;
    if (options.file !== undefined) this.file = options.file;
    if (options.offset !== undefined) this.offset = options.offset;
  }

  /**
   * Turns an error thrown by native code into a ForetokenError; anything without a code is returned as it is.
   * The new error is made where this is called, so that its stack leads to the caller's code.
   */
  static from(error: unknown): unknown {
    if (error instanceof ForetokenError || typeof error !== 'object' || error === null) return error;
    const { code, file, offset } = error as NativeErrorFields;
    if (typeof code !== 'string') return error;
    return new ForetokenError(code, (error as Error).message, {
      cause: error,
      file: typeof file === 'string' ? file : undefined,
      offset: typeof offset === 'number' ? offset : undefined,
    });
  }
}

/** Calls native code: an error that it throws, at once or later, becomes a ForetokenError, as {@link ForetokenError.from} makes it. */
export function callNative<T>(call: () => T): T {
  const rethrow = (error: unknown): never => {
    throw ForetokenError.from(error);
  };
  try {
    const result = call();
    return isPromise(result) ? (result.catch(rethrow) as T) : result;
  } catch (error) {
    return rethrow(error);
  }
}

/** Waits for what reads `path`. Throws FILE_UNREADABLE. */
export async function reading<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const message = `${path} can't be read: ${(error as Error).message}`;
    throw new ForetokenError('FILE_UNREADABLE', message, { cause: error, file: path });
  }
}

/** The error of a file or folder that can't be written, and what helps. */
export function writeFailed(path: string, cause: unknown): ForetokenError {
  const { message, code } = cause as NodeJS.ErrnoException;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  const remedy = isFull ? 'Make room there' : code === 'ENOENT' ? 'Make its folder' : 'Make it writable';
  const help = `${remedy}, or choose another folder (the cache's is FORETOKEN_HOME or cacheFolder).`;
  return new ForetokenError('WRITE_FAILED', `${path} could not be written: ${message}. ${help}`, { cause, file: path });
}

/** Waits for what writes `path`. Throws WRITE_FAILED. */
export async function writing<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw writeFailed(path, error);
  }
}

/** Whether it is for lack of memory that something failed, which may go well later. */
export function isLackOfMemory(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'OUT_OF_MEMORY';
}

/** The error of what a signal has ended. */
export function abortedError(signal: AbortSignal): ForetokenError {
  return new ForetokenError('ABORTED', 'Its signal has ended it.', { cause: signal.reason as unknown });
}

/** Throws ABORTED where a signal has ended what would go on here. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal);
}
