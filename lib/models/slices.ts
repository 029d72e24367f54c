import { throwIfAborted } from '../error';

/** How long such work may keep everything else waiting, in milliseconds. */
const SLICE_MS = 12;

interface Work {
  steps: Iterator<unknown>;
  signal: AbortSignal | undefined;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** Who has waited longest is first. */
const waiting: Work[] = [];

/**
 * Does long work in slices. All that is asked for at once shares one slice in each turn of the event loop, so that other work is kept
 * waiting no longer, however much there is; what a slice doesn't finish goes behind the others.
 *
 * @param steps Short bits of the work.
 * @param signal Ends the work early.
 * @throws ForetokenError `ABORTED`, and what steps throw.
 */
export function inSlices(steps: Iterator<unknown>, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (waiting.push({ steps, signal, resolve, reject }) === 1) setImmediate(workOneSlice);
  });
}

function workOneSlice(): void {
  const end = performance.now() + SLICE_MS;
  do {
    const work = waiting.shift()!;
    if (!advance(work, end)) waiting.push(work);
  } while (waiting.length > 0 && performance.now() < end);
  if (waiting.length > 0) setImmediate(workOneSlice);
}

/** Goes on with work until the slice ends; whether it has come to its own end. */
function advance({ steps, signal, resolve, reject }: Work, end: number): boolean {
  try {
    throwIfAborted(signal);
    while (!steps.next().done) if (performance.now() >= end) return false;
    resolve();
  } catch (error) {
    reject(error);
  }
  return true;
}
