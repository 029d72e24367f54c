// Answers prompts through @fugood/llama.node. Job: { folder, model, threads, context }
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { serve } from './serve.mjs';

await serve(async ({ folder, model, threads, context }) => {
  const { loadModel } = createRequire(join(folder, 'package.json'))('@fugood/llama.node');
  const loaded = await loadModel({
    ...{ model, n_ctx: context, n_gpu_layers: 0, n_threads: threads, lib_variant: 'default' },
  });
  return async ({ text, maxTokens }) => {
    loaded.clearCache();
    const { timings } = await loaded.completion({ prompt: text, n_predict: maxTokens, temperature: 0 });
    return {
      tokens: timings.predicted_n - 1,
      seconds: timings.predicted_ms / 1000,
      prefillTokS: timings.prompt_per_second,
    };
  };
});
