import { HubApiError, listFiles, modelInfo, type ListFileEntry } from '@huggingface/hub';
import { ForetokenError } from '../error';

/** How long a server may take to start its answer: a model that can't be had is to be known soon. */
const ANSWER_MS = 4_500;
/** How long the answers to one question may take in all. */
const WHOLE_ANSWER_MS = 60_000;
/** Downloads start behind redirects and cold caches; they may take longer. */
const DOWNLOAD_ANSWER_MS = 30_000;
const PROXY_HINT = 'HTTPS_PROXY is set: Node.js uses it from 22.21 and 24.0 on, and with NODE_USE_ENV_PROXY=1 alone';

/** A file of a repository. */
export type HubFile = Pick<ListFileEntry, 'path' | 'size' | 'oid' | 'lfs'>;

/**
 * Talks to a Hugging Face hub.
 *
 * `HF_ENDPOINT` says which (default: https://huggingface.co), `HF_TOKEN` is sent to it, and to nobody else, when set.
 */
export class HubClient {
  private readonly endpoint: string;
  private readonly token: string | undefined;
  private readonly hasProxy: boolean;

  /** @param env The environment to read. Defaults to `process.env`. */
  constructor(env: NodeJS.ProcessEnv = process.env) {
    this.endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
    this.token = env.HF_TOKEN || undefined;
    this.hasProxy = Boolean(env.HTTPS_PROXY || env.https_proxy);
  }

  /** The commit that a branch, tag or commit of a model's repository stands for. */
  async commit(name: string, revision: string, signal?: AbortSignal): Promise<string> {
    const info = await this.told(
      modelInfo({ name, revision, additionalFields: ['sha'], hubUrl: this.endpoint, fetch: this.fetcher(signal) }),
      signal,
    );
    if (/^[0-9a-f]{40}$/.test(info.sha)) return info.sha;
    throw new ForetokenError('HUB_ERROR', `${this.endpoint} does not say which commit ${name} is at`);
  }

  /** All files of a repository at a commit. */
  async files(name: string, commit: string, signal?: AbortSignal): Promise<HubFile[]> {
    const files: HubFile[] = [];
    const list = listFiles({
      repo: { type: 'model', name },
      revision: commit,
      recursive: true,
      hubUrl: this.endpoint,
      fetch: this.fetcher(signal),
    });
    const collect = async (): Promise<void> => {
      for await (const entry of list) if (entry.type === 'file') files.push(entry);
    };
    await this.told(collect(), signal);
    return files;
  }

  /** Where a file of a repository is downloaded from. */
  url(name: string, commit: string, path: string): string {
    return `${this.endpoint}/${name}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
  }

  /** A request for a download; anything but data is an error. */
  request = async (url: string, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> => {
    const response = await this.fetch(url, { headers }, DOWNLOAD_ANSWER_MS, signal);
    if (response.status === 200 || response.status === 206) return response;
    await response.body?.cancel();
    throw refusal(response.status, url);
  };

  private fetcher(signal?: AbortSignal): typeof fetch {
    const whole = AbortSignal.any([AbortSignal.timeout(WHOLE_ANSWER_MS), ...(signal ? [signal] : [])]);
    return (url, init) => this.fetch(url as string, init ?? {}, ANSWER_MS, whole);
  }

  /** `fetch` with the token for the hub itself and a limit on the time until the answer starts. */
  private async fetch(url: string, init: RequestInit, limit: number, signal?: AbortSignal): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.token && new URL(url).origin === new URL(this.endpoint).origin) {
      headers.set('authorization', `Bearer ${this.token}`);
    }
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(new Error(`no answer within ${limit / 1000} s`)), limit);
    try {
      return await fetch(url, {
        ...init,
        headers,
        signal: AbortSignal.any([timeout.signal, ...(signal ? [signal] : [])]),
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw this.unreachable(url, error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Turns the library's errors into ours. */
  private async told<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await work;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ForetokenError) throw error;
      if (error instanceof HubApiError) throw refusal(error.statusCode, error.url, error.message);
      if (!(error instanceof Error && error.name === 'SyntaxError')) throw this.unreachable(this.endpoint, error);
      throw new ForetokenError('HUB_ERROR', `${this.endpoint} does not answer like a hub`, { cause: error });
    }
  }

  private unreachable(url: string, cause: unknown): ForetokenError {
    const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    const why = inner instanceof Error ? inner.message : String(inner);
    const hint = this.hasProxy ? `. ${PROXY_HINT}` : '';
    return new ForetokenError('HUB_UNREACHABLE', `${new URL(url).origin} can't be reached: ${why}${hint}`, { cause });
  }
}

function refusal(status: number, url: string, message?: string): ForetokenError {
  const said = message ? ` (${message})` : '';
  if (status === 401) {
    const text = `${url} is not there, or needs a token: set HF_TOKEN to one that may read it${said}`;
    return new ForetokenError('HUB_UNAUTHORIZED', text);
  }
  if (status === 403) {
    const text = `${url} may not be read: its owner must give access to the account of HF_TOKEN${said}`;
    return new ForetokenError('HUB_FORBIDDEN', text);
  }
  if (status === 404) return new ForetokenError('HUB_NOT_FOUND', `${url} does not exist${said}`);
  if (status === 429 || status >= 500) {
    return new ForetokenError('HUB_UNREACHABLE', `${url} is not available now: status ${status}${said}`);
  }
  return new ForetokenError('HUB_ERROR', `${url} answered with status ${status}${said}`);
}
