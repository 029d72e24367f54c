import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/binding';
import type { GenerateResult } from '../../lib/decode/result';
import { writeTinyModel } from '../../lib/models/tiny-model';
import { testInTerminal } from '../support/terminal';

const folder = mkdtempSync(join(tmpdir(), 'foretoken-cli-'));
const tiny = join(folder, 'tiny.gguf');
const started: ChildProcess[] = [];

// The first run converts weights and measures prices; those of the tests then find both.
beforeAll(async () => {
  writeTinyModel(tiny);
  await run(['generate', 'x', '--model', tiny, '-n', '1']);
});
afterAll(() => {
  for (const child of started) child.kill('SIGKILL'); // those that should have ended, and did not
  rmSync(folder, { recursive: true, force: true });
});

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

function start(args: string[], environment: NodeJS.ProcessEnv = {}) {
  const env = { ...process.env, FORETOKEN_HOME: join(folder, 'home'), ...environment };
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'cli', 'main.js'), ...args], { env });
  started.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = once(child, 'close').then((): Ended => ({ status: child.exitCode, stdout, stderr }));
  return { child, ended };
}

async function run(args: string[], input = '', environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const { child, ended } = start(args, environment);
  child.stdin.end(input);
  return ended;
}

/** Runs a program in a terminal of its own: where what came since the last answer matches, the next one is typed. */
async function inTerminal(
  args: string[],
  script: [string, string][],
  environment: NodeJS.ProcessEnv = {},
): Promise<{ stdout: string; status: number | null }> {
  const pty = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)';
  const env = { ...process.env, FORETOKEN_HOME: join(folder, 'home'), NO_COLOR: '1', ...environment };
  const child = spawn('python3', ['-c', pty, ...args], { env });
  started.push(child);
  let stdout = '';
  let seen = 0;
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
    if (script.length === 0 || !new RegExp(script[0][0]).test(stdout.slice(seen))) return;
    seen = stdout.length;
    child.stdin.write(script.shift()![1]);
  });
  await once(child, 'close');
  return { stdout, status: child.exitCode };
}

const model = ['--model', tiny, '--threads', '2'];

testInTerminal('a cache folder that can not be written is told on stderr, and the answer is as ever', async () => {
  const file = join(folder, 'no folder');
  writeFileSync(file, '');
  const asked = ['generate', 'Hello', ...model, '-n', '8'];
  const { status, stdout, stderr } = await run([...asked, '--json'], '', { FORETOKEN_HOME: file });
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ usage: { completionTokens: 8 } });
  expect(stderr.match(/^packed weights are not cached: .*[^.]$/gm)).toHaveLength(1);
  const main = [process.execPath, join(packageRoot(), 'dist', 'cli', 'main.js')];
  const terminal = await inTerminal([...main, ...asked], [], { FORETOKEN_HOME: file });
  expect(terminal.stdout.match(/^packed weights are not cached: .*[^%]\r$/gm)).toHaveLength(1);
});

test('help names every command, and every command has examples', async () => {
  const { status, stdout } = await run(['--help']);
  expect(status).toBe(0);
  for (const command of ['chat', 'generate', 'demo', 'pull', 'inspect', 'speculator', 'bench']) {
    expect(stdout).toContain(`\n  ${command}`);
    const help = await run([command, '--help']);
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toMatch(/Examples?:\n/);
  }
});

test('generate answers a prompt from its argument or from standard input, the same each time', async () => {
  const flags = [...model, '-n', '20'];
  const first = await run(['generate', 'Hello', ...flags]);
  expect(first).toMatchObject({ status: 0, stderr: '' });
  expect(first.stdout.length).toBeGreaterThan(5);
  expect(first.stdout).not.toContain('\x1b[');
  expect(await run(['generate', ...flags], 'Hello\n')).toEqual(first);
  expect((await run(['generate', 'Hello', ...flags, '--no-speculation'])).stdout).toBe(first.stdout);
  expect((await run(['generate', ...flags, '--head', '--stop', 'never said', 'Hello'])).stdout).toBe(first.stdout);
  const { stdout } = await run(['generate', 'Hello', ...flags, '--json']);
  expect(stdout.trimEnd().split('\n')).toHaveLength(1);
  const result = JSON.parse(stdout);
  expect(`${result.text}\n`).toBe(first.stdout);
  expect(result.usage.completionTokens).toBe(result.tokens.length);
});

test('generate says that it was given no prompt', async () => {
  const { status, stdout, stderr } = await run(['generate', ...model], '\n');
  expect({ status, stdout, stderr }).toEqual({
    status: 1,
    stdout: '',
    stderr: expect.stringContaining('(INVALID_PROMPT)'),
  });
});

test('a raw prompt from standard input is continued as it is, with the blanks at its end', async () => {
  const raw = ['generate', '--raw', ...model, '-n', '4', '--json'];
  const result = async (args: string[], input?: string): Promise<unknown> => {
    const { tokens, usage } = JSON.parse((await run(args, input)).stdout) as GenerateResult;
    return { tokens, promptTokens: usage.promptTokens };
  };
  expect(await result(raw, 'one two  \n ')).toEqual(await result([...raw, 'one two  \n ']));
});

test('Ctrl-C ends generate while it reads standard input', async () => {
  const { child, ended } = start(['generate', ...model]);
  const more = Buffer.alloc(4 << 20, 'x'); // more than a pipe holds: once it is written, it is being read
  await new Promise((written) => child.stdin.write(more, written));
  child.kill('SIGINT');
  expect(await ended).toMatchObject({ status: 130, stdout: '', stderr: '\n' });
});

test('what was answered is kept where that is asked for; what can not be found again is told on stderr', async () => {
  const home = join(folder, 'keeping');
  const asked = ['generate', 'Hello', ...model, '-n', '40'];
  const ask = (...flags: string[]): Promise<Ended> => run([...asked, ...flags], '', { FORETOKEN_HOME: home });
  const kept = async (): Promise<unknown[]> => {
    const list = await run(['speculator', 'list', '--json'], '', { FORETOKEN_HOME: home });
    return JSON.parse(list.stdout) as unknown[];
  };
  const first = await ask();
  expect(await kept()).toEqual([]);
  expect((await ask('--keep-learned')).stdout).toBe(first.stdout);
  expect(await kept()).toHaveLength(1);
  expect(await ask('--keep-learned')).toEqual({ ...first, stderr: '' });
  const files = readdirSync(home, { recursive: true, encoding: 'utf8' });
  const memory = files.filter((path) => path.endsWith('memory.safetensors'));
  expect(memory).toHaveLength(1);
  writeFileSync(join(home, memory[0]), 'what is this');
  const lost = await ask('--keep-learned');
  expect(lost.stdout).toBe(first.stdout);
  expect(lost.stderr).toMatch(/^warning: memory and disk differ in what was learned: .+$/m);
});

test('sampling flags reach the model', async () => {
  const sampled = ['generate', 'Hello', '--raw', ...model, '-n', '20', '--temperature', '1', '--json'];
  const tokens = async (...flags: string[]): Promise<number[]> => {
    const result = JSON.parse((await run([...sampled, ...flags])).stdout) as { tokens: number[] };
    return result.tokens;
  };
  const first = await tokens('--seed', '1');
  expect(await tokens('--seed', '1')).toEqual(first);
  expect(await tokens('--seed', '2')).not.toEqual(first);
  expect(await tokens('--seed', '2', '--top-k', '1')).toEqual(await tokens('--seed', '3', '--top-k', '1'));
});

test('each --stop is one text, and ends the answer before it', async () => {
  const flags = [...model, '-n', '40', '--json'];
  const said = async (...more: string[]): Promise<string> => {
    return (JSON.parse((await run(['generate', 'Hello', ...flags, ...more])).stdout) as { text: string }).text;
  };
  const whole = await said();
  const [late, early] = [whole.slice(12, 16), whole.slice(4, 8)];
  expect(await said('--stop', late, '--stop', early)).toBe(whole.slice(0, whole.indexOf(early)));
});

test('flags that a command would ignore are refused', async () => {
  for (const flags of [['--memory', 'x'], ['--head'], ['--no-speculation']]) {
    const { status, stderr } = await run(['demo', ...model, ...flags]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('unknown option') });
  }
  for (const flags of [
    ['--raw', '--system', 'y'],
    ['--no-speculation', '--head'],
    ['--head-file', 'z', '--no-speculation'],
  ]) {
    const { status, stderr } = await run(['generate', 'x', ...model, ...flags]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('cannot be used with') });
  }
  for (const flag of ['--from x', '--texts x', '--draft-tokens 64', '--epochs 1', '--rows 64', '--minutes 1']) {
    const { status, stderr } = await run(['train', 'static', '--model', tiny, '--no-head', ...flag.split(' ')]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('cannot be used with') });
  }
});

test('static training ends with the command that drafts from what it made', async () => {
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const asked = file('asked.txt', Array.from({ length: 4 }, (_, i) => `one two ${i}`).join('\n\n'));
  const tokens = { prompt: [60, 61, 62], answer: [63, 64, 65, 66, 67, 68] };
  const given = file('given-tokens.jsonl', `${JSON.stringify(tokens)}\n`);
  const out = join(folder, "what's made");
  const small = ['--answer-tokens', '16', '--draft-tokens', '64', '--parallel', '2', '--threads', '2'];
  const train = (...more: string[]): Promise<Ended> =>
    run(['train', 'static', '--model', tiny, '--prompts', asked, '--texts', given, '--out', out, ...small, ...more]);
  const first = await train();
  expect(first.status).toBe(0);
  const command = first.stdout.trimEnd().split('\n').at(-1)!;
  const words = spawnSync('sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' })
    .stdout.trimEnd()
    .split('\n');
  const made = ['memory', 'head'].map((kind) => expect.stringMatching(`${out}/.*.${kind}.safetensors`) as string);
  expect(words).toEqual(['foretoken', 'chat', '--model', tiny, '--memory', made[0], '--head-file', made[1]]);
  expect(await run([...words.slice(1), '-n', '8'], 'one two 1\n/exit\n')).toMatchObject({ status: 0 });
  expect(await train('--from', words.at(-1)!, '--json')).toMatchObject({ status: 0 });
});

test('what static training could not do is refused before anything is answered', async () => {
  const out = join(folder, 'nothing made');
  const small = ['--answer-tokens', '8', '--memory-tokens', '16', '--threads', '2', '--out', out];
  const none = join(folder, 'none.safetensors');
  const wrong = [
    ...['--rows 8', '--rows 2000000', '--epochs 2000', '--draft-tokens 8', '--parallel 100', '--threads 1000'],
    ...['--memory-tokens 0', '--minutes 0.5', `--from ${none}`],
  ];
  for (const each of wrong) {
    const [flag, value] = each.split(' ');
    const { status, stdout, stderr } = await run(['train', 'static', '--model', tiny, ...small, flag, value]);
    const named = flag === '--from' ? none : `'${flag} <`;
    expect({ each, status, stdout, stderr }).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringContaining(named),
    });
    expect(existsSync(out) ? readdirSync(out) : []).toEqual([]);
  }
});

test('without prompts and folder a model asks itself, and engines find what it made', async () => {
  const home = { FORETOKEN_HOME: join(folder, 'found') };
  const small = ['--answer-tokens', '16', '--memory-tokens', '120', '--parallel', '2', '--threads', '2', '--no-head'];
  const trained = await run(['train', 'static', '--model', tiny, ...small], '', home);
  expect(trained).toMatchObject({ status: 0 });
  const [made, command] = trained.stdout.trimEnd().split('\n');
  expect(made).toContain(join(folder, 'found', 'speculators'));
  expect(command).toBe(`foretoken chat --model ${tiny}`);
  const stats = async (...flags: string[]): Promise<string> =>
    (await run([...command.split(' ').slice(1), '-n', '8', ...flags], '/stats\n/exit\n', home)).stdout;
  expect(await stats()).toMatch(/"staticMemoryBytes": [1-9]/);
  expect(await stats('--no-memory')).toMatch(/"staticMemoryBytes": 0/);
});

test('a model that was made for a short context answers within it', async () => {
  const short = join(folder, 'short.gguf');
  writeTinyModel(short, { contextLength: 512 });
  const small = ['--no-head', '--answer-tokens', '8', '--memory-tokens', '60', '--parallel', '2', '--threads', '2'];
  const out = join(folder, 'of a short context');
  expect(await run(['train', 'static', '--model', short, ...small, '--out', out])).toMatchObject({ status: 0 });
});

test('chat answers line by line; every answer ends with how fast it came', async () => {
  const { status, stdout, stderr } = await run(['chat', ...model, '-n', '40'], 'Hello\nAnd again\n/stats\n/exit\n');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const speeds = stdout.match(/[\d.]+ tokens\/s, [\d.]+ tokens per pass(, [\d.]+x plain decoding \(by .*\))?/g);
  expect(speeds).toHaveLength(2);
  expect(stdout).toContain('"default"');
});

test('chat takes a command that it does not have for no question', async () => {
  const { status, stdout } = await run(['chat', ...model], '/quit\n');
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^there is no \/quit:\n[^]*\/exit/) });
});

/** A chat whose answers take their time. */
async function slowChat(): Promise<string[]> {
  const slow = join(folder, 'slow.gguf');
  const maker = join(packageRoot(), 'dist', 'models', 'tiny-model.js');
  const make = `require(${JSON.stringify(maker)}).writeTinyModel(${JSON.stringify(slow)}, { layers: 8, width: 256 })`;
  if (!existsSync(slow)) await once(spawn(process.execPath, ['-e', make]), 'close'); // under Jest: ten times as long
  const main = join(packageRoot(), 'dist', 'cli', 'main.js');
  return [
    ...[process.execPath, main, 'chat', '--model', slow],
    ...['--threads', '1', '--no-speculation', '-n', '2000'],
  ];
}

testInTerminal('in a terminal Ctrl-C stops an answer and an error is told, and the chat goes on', async () => {
  const { stdout, status } = await inTerminal(await slowChat(), [
    ['> ', 'Hello\r'],
    ['Hello[^]{100}', '\x03'],
    ['tokens/s[^]*> ', `${'long '.repeat(500)}\r`],
    ['CONTEXT_EXCEEDED[^]*> ', '/exit\r'],
  ]);
  expect({ status, stdout: stdout.slice(-2000) }).toMatchObject({ status: 0 });
});

testInTerminal('in a terminal Ctrl-D while an answer is written ends the chat behind it', async () => {
  const { stdout, status } = await inTerminal(await slowChat(), [
    ['> ', 'Hello\r'],
    ['Hello[^]{100}', '\x04'],
  ]);
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringContaining('tokens per pass') });
});

test('a chat that fails ends, also where more could be said', async () => {
  const { child, ended } = start(['chat', ...model]);
  child.stdin.write(`${'long '.repeat(3000)}\n`);
  expect(await ended).toMatchObject({ status: 1, stderr: expect.stringContaining('(CONTEXT_EXCEEDED)') });
});

test('inspect says what a file holds', async () => {
  const { status, stdout } = await run(['inspect', tiny]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/architecture +llama/);
  expect(stdout).toMatch(/Q8_0 +\d+ tensors/);
  const report = JSON.parse((await run(['inspect', tiny, '--json'])).stdout);
  expect(report).toMatchObject({ architecture: 'llama', kind: 'gguf', path: tiny });
  expect(report.tensors.length).toBeGreaterThan(10);
  expect(report.tokenizer.endTokens).toContain('<|im_end|>');
  expect(stdout).toContain('begins with nothing'); // it has a BOS token, but no prompt begins with it
  expect(report.tokenizer.bos).toBeUndefined();
});

test('pull prints where a model is', async () => {
  expect(await run(['pull', tiny])).toMatchObject({ status: 0, stdout: `${tiny}\n` });
});

test('the demo answers everything twice, finds no difference and ends with its figures', async () => {
  const short = join(folder, 'short for a demo.gguf');
  writeTinyModel(short, { contextLength: 1024 });
  const { status, stdout, stderr } = await run(['demo', '--model', short, '--threads', '2', '--json']);
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  const figures = JSON.parse(lines[0]);
  expect(Object.keys(figures)).toEqual(['model', 'mismatches', 'speedup', 'tokens']);
  expect(figures).toMatchObject({ mismatches: 0, model: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(figures.tokens).toBeGreaterThan(100);
  expect(stderr).toContain('are the same with and without speculation, token for token');
  expect(stderr).toMatch(/plain [\d.]+ · static .* · learned .* of static\) · all texts are the same, token for token/);
  expect(stderr).not.toMatch(/[▁▂▃▄▅▆▇█]/);
  expect(stderr).toContain('What the controller chose and why');
  expect(stderr).toContain('Where to go next');
}, 300_000);

test('without the default model the demo makes one, and says that its speeds mean nothing', async () => {
  const environment = { FORETOKEN_HOME: join(folder, 'elsewhere'), PATH: join(folder, 'nothing') };
  const { status, stdout, stderr } = await run(['demo', '--threads', '2'], '', environment);
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toContain("The default model can't be had");
  expect(stdout).toContain('(PIP_NOT_FOUND)');
  expect(stdout).toMatch(/its speeds mean nothing/);
  expect(stdout).toContain('token for token');
}, 300_000);

test('an error is one line with its code, and status 1', async () => {
  const missing = await run(['generate', 'x', '--model', './none.gguf']);
  expect(missing).toMatchObject({ status: 1, stdout: '' });
  expect(missing.stderr).toMatch(/^error: .*\(MODEL_NOT_FOUND\)\n.+\n$/);
  const wrong = await run(['generate', 'x', ...model, '--top-p', '7']);
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toMatch(/\(INVALID_OPTION\)/);
  expect((await run(['generate', 'x', '--threads', 'many'])).stderr).toContain('Expected an integer');
  expect((await run(['paint'])).status).toBe(1);
});

test('Ctrl-C aborts cleanly', async () => {
  const long = join(folder, 'long.gguf');
  writeTinyModel(long, { contextLength: 32_768 });
  const slowly = ['--context', '32768', '--threads', '1', '--no-speculation']; // not over before Ctrl-C
  const { child, ended } = start(['generate', 'Hello', '--model', long, '--raw', '-n', '32000', ...slowly]);
  child.stdin.end();
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  const { status, stderr } = await ended;
  expect(status).toBe(130);
  expect(stderr).not.toMatch(/error|Error/);
});
