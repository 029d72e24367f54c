import { ForetokenError } from '../error';

/** The architectures of native/model/load.cc, in its order. */
const KNOWN: readonly string[] = ['llama', 'mistral', 'qwen2', 'qwen3'];

/**
 * Refuses as loading would, for those who have not fetched the weights yet.
 *
 * @param architecture `model_type` of a config.json.
 * @param model Whose it is, for the error.
 * @throws ForetokenError `UNSUPPORTED_ARCHITECTURE`.
 */
export function checkArchitecture(architecture: string, model: string): void {
  if (KNOWN.includes(architecture)) return;
  const message = `architecture '${architecture}' of ${model} is not known; known: ${KNOWN.join(', ')}`;
  throw new ForetokenError('UNSUPPORTED_ARCHITECTURE', message);
}
