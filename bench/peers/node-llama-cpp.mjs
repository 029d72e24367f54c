// Runs prompts through node-llama-cpp in a process of its own. Reads a job (JSON) from standard input, writes one line of JSON.
// Job: { folder, model, threads, context, prompts: [{ tokens, maxTokens }], predictor?: { pattern, prediction } }
import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const job = JSON.parse(Buffer.concat(chunks).toString('utf8'));

const entry = createRequire(join(job.folder, 'package.json')).resolve('node-llama-cpp');
const { getLlama, InputLookupTokenPredictor } = await import(pathToFileURL(entry).href);

const llama = await getLlama({ gpu: false, maxThreads: job.threads, logLevel: 'error' });
const model = await llama.loadModel({ modelPath: job.model });
const context = await model.createContext({ contextSize: job.context, sequences: 1, threads: job.threads });
const tokenPredictor =
  job.predictor === undefined
    ? undefined
    : new InputLookupTokenPredictor({
        patternLength: { min: job.predictor.pattern },
        predictionLength: { max: job.predictor.prediction },
      });
const sequence = context.getSequence(tokenPredictor === undefined ? {} : { tokenPredictor });

const runs = [];
for (const { tokens, maxTokens } of job.prompts) {
  await sequence.clearHistory();
  const started = performance.now();
  const answer = [];
  let first = 0;
  for await (const token of sequence.evaluate(tokens, { temperature: 0 })) {
    if (answer.length === 0) first = performance.now();
    answer.push(Number(token));
    if (answer.length >= maxTokens || model.isEogToken(token)) break;
  }
  runs.push({ tokens: answer, ttft: (first - started) / 1000, seconds: (performance.now() - first) / 1000 });
}
process.stdout.write(JSON.stringify(runs) + '\n');
process.exit(0);
