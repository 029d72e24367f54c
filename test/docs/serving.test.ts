import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTinyModel } from '../../lib/models/tiny-model';

interface Logprob {
  token: string;
  bytes: number[];
  top_logprobs: Logprob[];
}

interface Completion {
  choices: {
    message: { content: string };
    delta: { role?: string; content?: string };
    logprobs?: { content: Logprob[] };
  }[];
  usage?: { completion_tokens: number };
}

interface Server {
  process: ChildProcess;
  url: string;
  ask: (body: unknown) => Promise<Response>;
}

const root = join(__dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'foretoken-serving-'));
const model = join(folder, 'tiny.gguf');
const servers: ChildProcess[] = [];
const messages = [{ role: 'user', content: 'one two three' }];
let server: Server;

/** Runs the server of docs/serving.md as it stands there, in a folder whose `node_modules` has a foretoken. */
async function serve(home: string): Promise<Server> {
  const [, source] = /```js\n([^]*?)```/.exec(readFileSync(join(root, 'docs', 'serving.md'), 'utf8'))!;
  writeFileSync(join(home, 'server.mjs'), source);
  const env = { ...process.env, MODEL: model, PORT: '0', FORETOKEN_HOME: join(home, 'home') };
  const child = spawn(process.execPath, [join(home, 'server.mjs')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  servers.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const url = `http://localhost:${/port (\d+)/.exec(line.toString())![1]}`;
  const ask = (body: unknown): Promise<Response> =>
    fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body) });
  return { process: child, url, ask };
}

/** What came as events; those that are no JSON are left out. */
function chunksOf(events: string): Completion[] {
  const data = events.split('\n\n').filter((event) => event.startsWith('data: {'));
  return data.map((event) => JSON.parse(event.slice('data: '.length)) as Completion);
}

const said = (chunks: Completion[]): string => chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('');

beforeAll(async () => {
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules', 'foretoken'));
  writeTinyModel(model);
  server = await serve(folder);
});

afterAll(() => {
  for (const child of servers) child.kill();
  rmSync(folder, { recursive: true, force: true });
});

test('answers whole and as events, and tells figures', async () => {
  const whole = (await (await server.ask({ messages, max_tokens: 8, user: 'a' })).json()) as Completion;
  const known = { id: expect.any(String) as string, created: expect.any(Number) as number, model: 'default' };
  expect(whole).toMatchObject({ ...known, object: 'chat.completion', usage: { completion_tokens: 8 } });
  const streamed = { messages, max_tokens: 8, user: 'a', stream: true, stream_options: { include_usage: true } };
  const events = await (await server.ask(streamed)).text();
  const chunks = chunksOf(events);
  expect(chunks[0]).toMatchObject({ ...known, choices: [{ delta: { role: 'assistant' } }] });
  expect(said(chunks)).toBe(whole.choices[0].message.content);
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 8 } });
  expect(events.endsWith('data: [DONE]\n\n')).toBe(true);
  const metrics = await fetch(`${server.url}/metrics`);
  expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4'); // without it Prometheus takes none
  expect(await metrics.text()).toContain('foretoken_tokens 16\n');
});

test('takes what the engine has, and null for nothing', async () => {
  const unset = { max_tokens: null, stop: null, tools: null, prediction: null, logprobs: null, stream: null, n: 1 };
  const biased = { logit_bias: { 70: 100 }, presence_penalty: 0.5, frequency_penalty: 0.5, tool_choice: 'auto' };
  const asked = { messages, ...unset, max_completion_tokens: 3, response_format: { type: 'text' } };
  const plain = (await (await server.ask({ ...asked, model: 'any' })).json()) as Completion;
  expect(plain.usage).toMatchObject({ completion_tokens: 3 });
  const answer = await server.ask({ ...asked, ...biased, logprobs: true, top_logprobs: 2 });
  const { content } = ((await answer.json()) as Completion).choices[0].logprobs!;
  expect(content.map(({ bytes, token }) => [bytes, token])).toEqual(Array(3).fill([[67], 'C']));
  expect(content[0].top_logprobs).toHaveLength(2);
  const predicted = await server.ask({ ...asked, prediction: { type: 'content', content: 'one' } });
  expect(((await predicted.json()) as Completion).choices[0].message).toEqual(plain.choices[0].message);
});

test.each([
  [{ max_tokens: -1 }, 400, 'INVALID_OPTION', 'maxTokens'],
  [{ n: 2 }, 400, 'UNSUPPORTED', 'n is not supported'],
  [{ response_format: { type: 'json_object' } }, 400, 'UNSUPPORTED', 'response_format'],
  [{ constructor: 1 }, 400, 'UNSUPPORTED', 'constructor'],
  [{ messages: [] }, 400, 'INVALID_MESSAGES', 'none'],
  [{ messages: [{ role: 'user', content: 'word '.repeat(3000) }] }, 400, 'CONTEXT_EXCEEDED', 'tokens'],
  [{ messages: [{ role: 'user', content: 'x'.repeat(4 << 20) }] }, 413, 'TOO_LARGE', 'bytes'],
])(
  'refuses with a status what can not be answered, also where events were asked for',
  async (wrong, status, code, message) => {
    for (const stream of [false, true]) {
      const refused = await server.ask({ messages, ...wrong, stream });
      const error = { code, message: expect.stringContaining(message) as string };
      expect([refused.status, await refused.json()]).toMatchObject([status, { error }]);
    }
  },
);

test('what is no question, and no place to ask one, is refused too', async () => {
  expect((await server.ask(null)).status).toBe(400);
  expect((await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: '{' })).status).toBe(400);
  expect((await fetch(`${server.url}/v1/chat/completions`)).status).toBe(404);
  expect((await fetch(`${server.url}/v1/models`)).status).toBe(404);
});

test('an answer that fails on its way ends with an event that says why', async () => {
  const home = join(folder, 'failing');
  const library = join(home, 'node_modules', 'foretoken');
  mkdirSync(library, { recursive: true });
  const engine = `
    async function* chatStream() {
      yield { text: 'so far', tokens: [1] };
      throw Object.assign(new Error('no page left'), { code: 'KV_EXHAUSTED' });
    }
    export const Engine = { load: async () => ({ chatStream, close() {} }) };`;
  writeFileSync(join(library, 'index.mjs'), engine);
  writeFileSync(join(library, 'package.json'), JSON.stringify({ name: 'foretoken', exports: './index.mjs' }));
  const failing = await serve(home);
  const answer = await failing.ask({ messages, stream: true });
  const events = await answer.text();
  expect([answer.status, said(chunksOf(events))]).toEqual([200, 'so far']);
  const data = { error: { code: 'KV_EXHAUSTED', message: 'no page left' } };
  expect(events.endsWith(`event: error\ndata: ${JSON.stringify(data)}\n\n`)).toBe(true);
});

test('goes on when a client has left, and ends when it is told to', async () => {
  const leaving = new AbortController();
  const body = JSON.stringify({ messages, max_tokens: 1000, logit_bias: { 2: -100 }, stream: true });
  const answer = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body, signal: leaving.signal });
  expect(answer.status).toBe(200);
  leaving.abort();
  expect((await server.ask({ messages, max_tokens: 1 })).status).toBe(200);
  server.process.kill('SIGTERM');
  expect(await once(server.process, 'exit')).toEqual([0, null]);
});
