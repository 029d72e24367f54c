import { performance } from 'node:perf_hooks';
import { ForetokenError } from '../error';

/** Where a call came from, for errors that arise later and elsewhere, and when. */
export interface CallSite {
  stack?: string;
  /** Milliseconds, as `performance.now` counts them. */
  began?: number;
}

/** Remembers where and when it was called: a few microseconds. */
export function callSite(): CallSite {
  const site: CallSite = { began: performance.now() };
  Error.captureStackTrace(site, callSite);
  return site;
}

/** Gives an error that arose far from any call of the user's the stack of the call that it belongs to. */
export function atCallSite<T>(error: T, site: CallSite): T {
  if (error instanceof ForetokenError && site.stack !== undefined) {
    const frames = site.stack.slice(site.stack.indexOf('\n') + 1);
    error.stack = `${error.name}: ${error.message}\n${frames}`;
  }
  return error;
}
