import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Progress } from '../../lib/models/progress';

/** A file of a repository on the stand-in hub. */
export interface HubServerFile {
  path: string;
  data: Buffer;
  /** Kept as Git LFS does: with a SHA-256 and behind a redirect to the other server. */
  lfs?: boolean;
}

interface Request {
  server: 'hub' | 'cdn';
  url: string;
  authorization?: string;
  range?: string;
  ifRange?: string;
}

/**
 * A server that speaks the routes of a Hugging Face hub which foretoken uses, and a second one, of another origin, that
 * large files are redirected to.
 */
export class HubServer {
  /** All requests, in order. */
  readonly requests: Request[] = [];
  /** Repositories by `owner/name`. */
  readonly repositories = new Map<string, HubServerFile[]>();
  /** Only requests with this token are answered, if it is set. */
  token: string | undefined;
  /** The next answers of the second server are cut off after so many bytes; the client tells {@link onProgress} what it has. */
  cutAfter: number[] = [];
  /** What the servers do wrong. */
  fault: 'none' | 'forbidden' | 'silent' | 'damage' | 'no-ranges' | 'unavailable' | 'portal' = 'none';
  /** Entity tag of large files. */
  etag = '"one"';
  commit = 'c0ffee'.repeat(7).slice(0, 40);
  /** Takes what the client tells of its progress. */
  onProgress: (progress: Progress) => void = () => undefined;

  private readonly hub = createServer((request, response) => this.answerHub(request, response));
  private readonly cdn = createServer((request, response) => this.answerCdn(request, response));

  async start(): Promise<void> {
    await Promise.all(
      [this.hub, this.cdn].map((server) => new Promise<void>((done) => server.listen(0, '127.0.0.1', done))),
    );
  }

  async stop(): Promise<void> {
    const stopping = [this.hub, this.cdn].map((server) => new Promise((done) => server.close(done)));
    this.hub.closeAllConnections();
    this.cdn.closeAllConnections();
    await Promise.all(stopping);
  }

  get endpoint(): string {
    return origin(this.hub);
  }

  private log(server: 'hub' | 'cdn', { url = '', headers }: IncomingMessage): void {
    const { authorization, range } = headers;
    this.requests.push({ server, url, authorization, range, ifRange: headers['if-range'] as string | undefined });
  }

  private answerHub(request: IncomingMessage, response: ServerResponse): void {
    this.log('hub', request);
    if (this.fault === 'silent') return;
    if (this.fault === 'forbidden') return refuse(response, 403);
    if (this.fault === 'unavailable') return refuse(response, 503);
    if (this.fault === 'portal') return void response.end('<html>Please log in</html>');
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) return refuse(response, 401);
    const url = new URL(request.url ?? '', this.endpoint);
    const match =
      /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname) ??
      /^\/([^/]+\/[^/]+)\/(resolve)\/([^/]+)\/(.+)$/.exec(url.pathname);
    const files = match && this.repositories.get(match[1]);
    if (!files) return refuse(response, 404);
    const [, name, route, revision, path] = match;
    if (!['main', this.commit].includes(decodeURIComponent(revision))) return refuse(response, 404);
    if (route === 'revision')
      return sendJson(response, { _id: '1', id: name, sha: this.commit, lastModified: '2026-01-01' });
    if (route === 'tree') return this.sendTree(response, url, files);
    const file = files.find((each) => each.path === decodeURIComponent(path));
    if (!file) return refuse(response, 404);
    if (!file.lfs) return this.sendFile(request, response, file.data);
    response.writeHead(302, { location: `${origin(this.cdn)}/${name}/${path}`, 'x-linked-etag': this.etag }).end();
  }

  /** Two entries a page, to see that all pages are asked for. */
  private sendTree(response: ServerResponse, url: URL, files: HubServerFile[]): void {
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const entries = files.map((file) => ({
      type: 'file',
      path: file.path,
      size: file.data.length,
      oid: createHash('sha1').update(`blob ${file.data.length}\0`).update(file.data).digest('hex'),
      lfs: file.lfs && {
        oid: createHash('sha256').update(file.data).digest('hex'),
        size: file.data.length,
        pointerSize: 130,
      },
    }));
    url.searchParams.set('cursor', String(from + 2));
    const link = from + 2 < files.length ? { link: `<${url.href}>; rel="next"` } : undefined;
    sendJson(response, entries.slice(from, from + 2), link);
  }

  private answerCdn(request: IncomingMessage, response: ServerResponse): void {
    this.log('cdn', request);
    const [, owner, name, ...path] = (request.url ?? '').split('/');
    const files = this.repositories.get(`${owner}/${name}`);
    const file = files?.find((each) => each.path === path.map(decodeURIComponent).join('/'));
    if (!file) return refuse(response, 404);
    this.sendFile(request, response, file.data);
  }

  private sendFile(request: IncomingMessage, response: ServerResponse, whole: Buffer): void {
    const data = Buffer.from(whole);
    if (this.fault === 'damage') data[data.length >> 1] ^= 1;
    const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const condition = request.headers['if-range'];
    const honoured = asked && this.fault !== 'no-ranges' && (!condition || condition === this.etag);
    const from = honoured ? Number(asked[1]) : 0;
    const headers: Record<string, string | number> = { etag: this.etag, 'content-length': data.length - from };
    if (honoured) headers['content-range'] = `bytes ${from}-${data.length - 1}/${data.length}`;
    response.writeHead(honoured ? 206 : 200, headers);
    const cut = this.cutAfter.shift();
    if (cut === undefined) response.end(data.subarray(from));
    else if (cut === 0) response.destroy();
    else {
      // What was sent is lost to the client if the connection is cut before it has it.
      this.onProgress = ({ done }) => void (done === from + cut && response.destroy());
      response.write(data.subarray(from, from + cut));
    }
  }
}

function origin(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end('{"error":"said by the server"}');
}

function sendJson(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}
