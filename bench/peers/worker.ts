import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../lib/binding';

/** A prompt in both shapes that peers take. */
export interface PeerPrompt {
  group: string;
  text: string;
  tokens: number[];
  maxTokens: number;
}

/** Tokens and seconds of one answer, first token to last. */
export interface PeerRun {
  ttft: number;
  seconds: number;
  count: number;
}

/** Runs a job through one of the worker scripts beside this file, in a process of its own. */
export async function runWorker(script: string, job: object): Promise<PeerRun[]> {
  const file = join(packageRoot(), 'bench', 'peers', script);
  const child = spawn(process.execPath, [file], { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.end(JSON.stringify(job));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const line = output.trim().split('\n').at(-1) ?? '';
  if (code !== 0 || !line.startsWith('[')) throw new Error(`${script} ended with ${code}: ${line.slice(0, 200)}`);
  return (JSON.parse(line) as (Partial<PeerRun> & { tokens?: number[] })[]).map((run) => ({
    ttft: run.ttft!,
    seconds: run.seconds!,
    count: run.count ?? run.tokens!.length,
  }));
}
