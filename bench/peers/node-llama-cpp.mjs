// Answers prompts through node-llama-cpp. Job: { folder, model, threads, context, predictor?: { pattern, prediction } }
import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { serve } from './serve.mjs';

await serve(async ({ folder, model: modelPath, threads, context: contextSize, predictor }) => {
  const entry = createRequire(join(folder, 'package.json')).resolve('node-llama-cpp');
  const { getLlama, InputLookupTokenPredictor } = await import(pathToFileURL(entry).href);
  // Where its binary does not run, it would fetch llama.cpp and build it.
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' });
  const model = await llama.loadModel({ modelPath });
  const context = await model.createContext({ contextSize, sequences: 1, threads });
  const tokenPredictor =
    predictor &&
    new InputLookupTokenPredictor({
      patternLength: { min: predictor.pattern },
      predictionLength: { max: predictor.prediction },
    });
  const sequence = context.getSequence(tokenPredictor ? { tokenPredictor } : {});

  return async ({ tokens, maxTokens }) => {
    await sequence.clearHistory();
    const started = performance.now();
    let first = 0;
    let count = 0;
    for await (const token of sequence.evaluate(tokens, { temperature: 0 })) {
      if (++count === 1) first = performance.now();
      if (count >= maxTokens || model.isEogToken(token)) break;
    }
    return {
      tokens: count - 1,
      seconds: (performance.now() - first) / 1000,
      prefillTokS: tokens.length / ((first - started) / 1000),
    };
  };
});
