import { readFile } from 'node:fs/promises';
import { ForetokenError } from '../error';

/**
 * Reads a JSON file from which a run that was interrupted goes on.
 *
 * @param isWhole Whether all is there that the run needs.
 * @param begun The file by which the run is known to have begun.
 * @throws ForetokenError CHECKPOINT_INVALID
 */
export async function readRunFile<T>(path: string, isWhole: (read: T | null) => boolean, begun = path): Promise<T> {
  let read: T | null;
  try {
    read = JSON.parse(await readFile(path, 'utf8')) as T | null;
  } catch (error) {
    throw invalid(path, (error as Error).message, begun);
  }
  if (isWhole(read)) return read!;
  throw invalid(path, 'something in it is missing or of the wrong type', begun);
}

function invalid(path: string, why: string, begun: string): ForetokenError {
  const message = `The run can't go on from ${path}: ${why}. Remove ${begun} to begin anew, or choose another folder.`;
  return new ForetokenError('CHECKPOINT_INVALID', message, { file: path });
}
