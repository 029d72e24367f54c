import type { Command } from 'commander';
import { resolveModel } from '../models/resolve';
import { runCommand } from './run';
import { ProgressDisplay } from './terminal';

export function addPullCommand(program: Command): void {
  program
    .command('pull')
    .description('fetch a model into the cache and print where it is')
    .argument('[ref]', "'default', a path, or a Hugging Face repository: owner/name[:file.gguf][@revision]", 'default')
    .option('--json', 'print path, kind and sha256 as one line of JSON')
    .addHelpText(
      'after',
      `
HF_TOKEN and HF_ENDPOINT are honoured; FORETOKEN_HOME moves the cache.

Examples:
  foretoken pull
  foretoken pull HuggingFaceTB/SmolLM2-360M-Instruct
  foretoken pull owner/name:model.Q8_0.gguf`,
    )
    .action((ref: string, flags: { json?: boolean }) =>
      runCommand(async (signal) => {
        const progress = new ProgressDisplay();
        try {
          const model = await resolveModel(ref, { onProgress: progress.update, signal });
          progress.stop();
          process.stdout.write(flags.json ? `${JSON.stringify(model)}\n` : `${model.path}\n`);
        } finally {
          progress.stop();
        }
      }),
    );
}
