import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTinyModel } from '../../lib/models/tiny-model';

interface Completion {
  choices: { message: { content: string }; delta: { content?: string } }[];
}

const root = join(__dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'foretoken-serving-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the server of docs/serving.md runs as it stands there: answers, events, errors, figures, and an end', async () => {
  const [, source] = /```js\n([^]*?)```/.exec(readFileSync(join(root, 'docs', 'serving.md'), 'utf8'))!;
  writeFileSync(join(folder, 'server.mjs'), source);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules', 'foretoken'));
  writeTinyModel(join(folder, 'tiny.gguf'));
  const env = { ...process.env, MODEL: join(folder, 'tiny.gguf'), PORT: '0', FORETOKEN_HOME: join(folder, 'home') };
  const server = spawn(process.execPath, [join(folder, 'server.mjs')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const url = `http://localhost:${/port (\d+)/.exec(line.toString())![1]}`;
  const ask = (body: object): Promise<Response> =>
    fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body) });
  const messages = [{ role: 'user', content: 'one two three' }];

  const whole = (await (await ask({ messages, max_tokens: 8, user: 'a' })).json()) as Completion;
  expect(whole).toMatchObject({ object: 'chat.completion', usage: { completion_tokens: 8 } });
  const events = await (await ask({ messages, max_tokens: 8, user: 'a', stream: true })).text();
  const chunks = events.split('\n\n').filter((event) => event.startsWith('data: {'));
  const said = chunks.map((event) => (JSON.parse(event.slice('data: '.length)) as Completion).choices[0].delta.content);
  expect(said.join('')).toBe(whole.choices[0].message.content);
  expect(events.endsWith('data: [DONE]\n\n')).toBe(true);

  const refused = await ask({ messages, max_tokens: -1 });
  expect([refused.status, await refused.json()]).toMatchObject([400, { error: { code: 'INVALID_OPTION' } }]);
  expect(await (await fetch(`${url}/metrics`)).text()).toContain('foretoken_tokens 16\n');

  server.kill('SIGTERM');
  expect(await once(server, 'exit')).toEqual([0, null]);
});
