import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { Child, runChild } from './child';
import type { Peer, PeerPrompt, PeerRun } from './peer';

const requantizeSeconds = 180;
const benchSeconds = 60;
const loadSeconds = 60;
const answerSeconds = 60;

/** llama.cpp's own tools, from a build folder or its bin/. */
export class LlamaCpp {
  readonly #folder: string;
  readonly #threads: number;

  constructor(folder: string, threads: number) {
    const candidates = [join(folder, 'bin'), join(folder, 'build', 'bin'), folder];
    const found = candidates.find((bin) => existsSync(join(bin, 'llama-bench')));
    if (found === undefined) throw new Error(`no llama-bench in ${folder}, its bin/ or its build/bin/`);
    this.#folder = found;
    this.#threads = threads;
  }

  /** Writes `model` anew in another type, once. */
  async requantize(model: string, type: string, output: string): Promise<string> {
    if (existsSync(output)) return output;
    mkdirSync(dirname(output), { recursive: true });
    const args = ['--allow-requantize', model, `${output}.half`, type, String(this.#threads)];
    await runChild(this.#tool('llama-quantize'), args, requantizeSeconds);
    renameSync(`${output}.half`, output);
    return output;
  }

  /** Tokens/s of prefilling `prompt` tokens and of decoding `decode` tokens, after a warm-up. */
  async bench(model: string, prompt: number, decode: number): Promise<{ prefill: number; decode: number }> {
    const args = ['-m', model, '-t', String(this.#threads), '-p', String(prompt), '-n', String(decode), '-r', '1'];
    const output = await runChild(this.#tool('llama-bench'), [...args, '-o', 'json'], benchSeconds);
    const rows = JSON.parse(output) as { n_prompt: number; n_gen: number; avg_ts: number }[];
    const speed = (pick: (row: { n_prompt: number; n_gen: number }) => boolean) => rows.find(pick)!.avg_ts;
    return { prefill: speed((row) => row.n_gen === 0), decode: speed((row) => row.n_prompt === 0) };
  }

  /** A llama-server with one kind of speculation. */
  async serve(model: string, specType: string): Promise<Peer> {
    const port = await freePort();
    const args = ['-m', model, '-t', String(this.#threads), '-np', '1', '-c', '2048', '--host', '127.0.0.1'];
    const spec = specType === 'none' ? [] : ['--spec-type', specType];
    const command = [...args, '--port', String(port), ...spec];
    const child = new Child('llama-server', this.#tool('llama-server'), command);
    child.output.resume();
    try {
      await child.within(loadSeconds, untilHealthy(port));
    } catch (error) {
      await child.end();
      throw error;
    }
    return {
      answer: (prompt) => child.within(answerSeconds, complete(port, prompt)),
      close: () => child.end(),
    };
  }

  #tool(name: string): string {
    return join(this.#folder, name);
  }
}

/** One answer by the server's own timings. */
async function complete(port: number, prompt: PeerPrompt): Promise<PeerRun> {
  const response = await fetch(`http://127.0.0.1:${port}/completion`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      prompt: prompt.tokens,
      n_predict: prompt.maxTokens,
      temperature: 0,
      top_k: 1,
      cache_prompt: false,
    }),
  });
  if (!response.ok) throw new Error(`llama-server answered ${response.status}`);
  const { timings } = (await response.json()) as {
    timings: { predicted_n: number; predicted_ms: number; prompt_per_second: number };
  };
  return {
    tokens: timings.predicted_n - 1,
    seconds: timings.predicted_ms / 1000,
    prefillTokS: timings.prompt_per_second,
  };
}

async function untilHealthy(port: number): Promise<void> {
  for (const started = Date.now(); Date.now() - started < loadSeconds * 1000;) {
    const answer = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
