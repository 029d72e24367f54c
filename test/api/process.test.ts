import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../lib/binding';
import { prompts, tinyModel } from './tiny';

const model = tinyModel();

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

const preamble = `
    const { Engine } = require(${JSON.stringify(join(packageRoot(), 'dist', 'index.js'))});
    const path = ${JSON.stringify(model.path)};
    const options = { cacheFolder: ${JSON.stringify(model.cache)}, threads: 1, contextLength: 256 };
    const prompts = ${JSON.stringify(prompts)};`;

/** Runs a script in a Node process of its own, with `Engine` and the tiny model's place given. */
function start(script: string, flags: string[] = []) {
  const child = spawn(process.execPath, [...flags, '-e', `${preamble}\n${script}`]);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = once(child, 'close').then((): Ended => ({ status: child.exitCode, stdout, stderr }));
  return { child, ended };
}

test('400 times loaded, used and closed: memory grows by less than 10 %', async () => {
  const script = `
    async function cycle() {
      const engine = await Engine.load(path, options);
      await engine.generate(prompts[1], { maxTokens: 24, ignoreEos: true });
      await engine.close();
    }
    (async () => {
      // The allocator keeps and returns pages as it likes: the least of some readings is what is really held.
      async function held(cycles) {
        for (let i = 0; i < cycles; ++i) await cycle();
        let least = Infinity;
        for (let reading = 0; reading < 5; ++reading) {
          for (let i = 0; i < 10; ++i) await cycle();
          gc();
          least = Math.min(least, process.memoryUsage().rss);
        }
        return least;
      }
      const before = await held(100);
      console.log((await held(350)) / before);
    })();`;
  // V8 enlarges its young generation when it sees fit, by more than the bound; with a fixed one, what grows is ours.
  const flags = ['--expose-gc', '--min-semi-space-size=1', '--max-semi-space-size=1'];
  const { status, stdout, stderr } = await start(script, flags).ended;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(Number(stdout)).toBeLessThan(1.1);
}, 600_000);

test('an engine that was never closed does not keep the process alive', async () => {
  const script = `
    (async () => {
      const engine = await Engine.load(path, options);
      const { tokens } = await engine.generate(prompts[0], { maxTokens: 10, ignoreEos: true });
      console.log(tokens.length);
    })();`;
  const { status, stdout, stderr } = await start(script).ended;
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '10\n', stderr: '' });
});

test('process.exit in the middle of decoding ends at once and cleanly', async () => {
  const script = `
    (async () => {
      const engine = await Engine.load(path, options);
      for (const prompt of prompts) engine.generate(prompt, { maxTokens: 200, ignoreEos: true });
      for await (const chunk of engine.stream(prompts[0], { maxTokens: 200, ignoreEos: true })) process.exit(7);
    })();`;
  const { status, stderr } = await start(script).ended;
  expect({ status, stderr }).toEqual({ status: 7, stderr: '' });
});

test('a worker that is ended while it loads, decodes or closes takes nothing else down', async () => {
  const body = `
    const { parentPort } = require('node:worker_threads');
    (async () => {
      for (;;) {
        parentPort.postMessage('loads');
        const engine = await Engine.load(path, options);
        const answers = prompts.map((prompt) => engine.generate(prompt, { maxTokens: 100, ignoreEos: true }));
        parentPort.postMessage('decodes');
        await Promise.all(answers);
        const closed = engine.close();
        await new Promise((resolve) => setImmediate(resolve));
        parentPort.postMessage('closes');
        await closed;
      }
    })();`;
  const script = `
    const { Worker } = require('node:worker_threads');
    const { setTimeout: sleep } = require('node:timers/promises');
    (async () => {
      for (let i = 0; i < 6; ++i)
        for (const stage of ['loads', 'decodes', 'closes']) {
          const worker = new Worker(${JSON.stringify(preamble + body)}, { eval: true });
          await new Promise((resolve) => worker.on('message', (reached) => reached === stage && resolve()));
          await sleep(i);
          await worker.terminate();
        }
      const engine = await Engine.load(path, options);
      const { tokens } = await engine.generate(prompts[0], { maxTokens: 10, ignoreEos: true });
      await engine.close();
      console.log(tokens.length);
    })();`;
  const { status, stdout, stderr } = await start(script).ended;
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '10\n', stderr: '' });
});

test('a process killed while it loads or decodes leaves no cache that another one trips over', async () => {
  const script = `
    (async () => {
      for (;;) {
        const engine = await Engine.load(path, { ...options, weights: 'fp8' });
        console.log('loaded');
        await engine.generate(prompts[0], { maxTokens: 50, ignoreEos: true });
        await engine.close();
      }
    })();`;
  for (const delay of [60, 120, 180, 240, 400]) {
    const { child, ended } = start(script);
    await sleep(delay);
    child.kill('SIGKILL');
    await ended;
  }
  const engine = await model.load({ weights: 'fp8', contextLength: 256 });
  const fresh = await model.load({ weights: 'fp8', contextLength: 256, cacheFolder: join(model.cache, 'fresh') });
  const request = { maxTokens: 40, ignoreEos: true };
  expect((await engine.generate(prompts[0], request)).tokens).toEqual(
    (await fresh.generate(prompts[0], request)).tokens,
  );
  const left = readdirSync(model.cache, { recursive: true }).filter((name) => /tmp/.test(String(name)));
  expect(left.length).toBeLessThanOrEqual(5);
});

test("a listener's own error is nobody else's: the engine closes, and the process hears of it", async () => {
  const script = `
    const fs = require('node:fs');
    const cacheFolder = options.cacheFolder + '/listener';
    process.on('uncaughtException', (error) => console.log(error.message));
    (async () => {
      const onEvent = ({ kind }) => { throw new Error(kind); };
      const engine = await Engine.load(path, { ...options, cacheFolder, keepLearned: true, onEvent });
      await engine.generate(prompts[0], { maxTokens: 10, ignoreEos: true });
      fs.writeFileSync(cacheFolder + '/speculators', 'a file where the folder should be');
      await engine.close();
      console.log('closed');
    })();`;
  const { status, stdout, stderr } = await start(script).ended;
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'notKept\nclosed\n', stderr: '' });
});

test('prices are kept; where they were damaged, or passes are faster now, they are measured anew', async () => {
  const cache = join(model.cache, 'prices');
  await model.load({ cacheFolder: cache });
  const [name] = readdirSync(join(cache, 'profiles'));
  const path = join(cache, 'profiles', name);
  const first = JSON.parse(readFileSync(path, 'utf8')) as { passSeconds: number[] };
  const afterLoading = async (kept: string): Promise<string> => {
    writeFileSync(path, kept);
    await model.load({ cacheFolder: cache });
    return readFileSync(path, 'utf8');
  };
  const scaled = (factor: number): string => {
    return JSON.stringify({ ...first, passSeconds: first.passSeconds.map((seconds) => seconds * factor) });
  };
  expect(await afterLoading(scaled(0.001))).toBe(scaled(0.001));
  for (const kept of [scaled(1000), scaled(1).slice(0, 30), '{}', '[]', 'null']) {
    const { passSeconds } = JSON.parse(await afterLoading(kept)) as { passSeconds: number[] };
    expect(passSeconds).toHaveLength(first.passSeconds.length);
    expect(passSeconds[0]).toBeLessThan(500 * first.passSeconds[0]);
  }
});
