// Runs prompts through @fugood/llama.node in a process of its own. Reads a job (JSON) from standard input, writes one line of JSON.
// Job: { folder, model, threads, context, prompts: [{ text, maxTokens }] }
'use strict';

const { createRequire } = require('node:module');
const { join } = require('node:path');

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const job = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  const { loadModel } = createRequire(join(job.folder, 'package.json'))('@fugood/llama.node');
  const context = await loadModel({
    model: job.model,
    n_ctx: job.context,
    n_gpu_layers: 0,
    n_threads: job.threads,
    lib_variant: 'default',
  });
  const runs = [];
  for (const { text, maxTokens } of job.prompts) {
    const { timings } = await context.completion({ prompt: text, n_predict: maxTokens, temperature: 0 });
    runs.push({
      count: timings.predicted_n,
      ttft: timings.prompt_ms / 1000,
      seconds: timings.predicted_ms / 1000,
    });
  }
  process.stdout.write('\n' + JSON.stringify(runs) + '\n');
  process.exit(0);
}

main();
