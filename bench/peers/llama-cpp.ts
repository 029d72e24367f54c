import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { PeerPrompt, PeerRun } from './worker';

/** llama.cpp's own tools, from a build folder or its bin/. */
export class LlamaCpp {
  readonly #folder: string;
  readonly #threads: number;

  constructor(folder: string, threads: number) {
    this.#folder = [join(folder, 'bin'), join(folder, 'build', 'bin'), folder].find((bin) =>
      existsSync(join(bin, 'llama-bench')),
    )!;
    if (this.#folder === undefined) throw new Error(`no llama-bench in ${folder}, its bin/ or its build/bin/`);
    this.#threads = threads;
  }

  /** Writes `model` anew in another type, once. */
  requantize(model: string, type: string, output: string): string {
    if (!existsSync(output))
      execFileSync(this.#tool('llama-quantize'), ['--allow-requantize', model, output, type, String(this.#threads)], {
        stdio: 'ignore',
      });
    return output;
  }

  /** Tokens/s of prefilling `prompt` tokens and of decoding `decode` tokens. */
  bench(model: string, prompt: number, decode: number): { prefill: number; decode: number } {
    const args = ['-m', model, '-t', String(this.#threads), '-p', String(prompt), '-n', String(decode), '-r', '2'];
    const output = execFileSync(this.#tool('llama-bench'), [...args, '-o', 'json'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const rows = JSON.parse(output) as { n_prompt: number; n_gen: number; avg_ts: number }[];
    const speed = (pick: (row: { n_prompt: number; n_gen: number }) => boolean) => rows.find(pick)!.avg_ts;
    return { prefill: speed((row) => row.n_gen === 0), decode: speed((row) => row.n_prompt === 0) };
  }

  /** Answers prompts through llama-server with one kind of speculation, by the server's own timings. */
  async serve(model: string, specType: string, prompts: PeerPrompt[]): Promise<PeerRun[]> {
    const port = await freePort();
    const args = ['-m', model, '-t', String(this.#threads), '-np', '1', '-c', '2048', '--host', '127.0.0.1'];
    const spec = specType === 'none' ? [] : ['--spec-type', specType];
    const server = spawn(this.#tool('llama-server'), [...args, '--port', String(port), ...spec], { stdio: 'ignore' });
    try {
      await untilHealthy(server, port);
      const runs: PeerRun[] = [];
      for (const prompt of prompts) runs.push(await complete(port, prompt));
      return runs;
    } finally {
      server.kill();
      await new Promise((resolve) => server.once('close', resolve));
    }
  }

  #tool(name: string): string {
    return join(this.#folder, name);
  }
}

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
  const { timings } = (await response.json()) as {
    timings: { predicted_n: number; predicted_ms: number; prompt_ms: number };
  };
  return { count: timings.predicted_n, seconds: timings.predicted_ms / 1000, ttft: timings.prompt_ms / 1000 };
}

async function untilHealthy(server: ChildProcess, port: number): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (server.exitCode !== null) throw new Error(`llama-server ended with ${server.exitCode}`);
    const answer = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('llama-server did not become healthy within 30 s');
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
