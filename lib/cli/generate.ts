import { addAbortSignal } from 'node:stream';
import { Option } from 'commander';
import type { Command } from 'commander';
import type { Engine } from '../engine/engine';
import type { GenerateResult } from '../decode/result';
import { ForetokenError } from '../error';
import { addKeepFlag, addLoadFlags, addSamplingFlags, samplingOptions, withEngine } from './flags';
import type { LoadFlags, SamplingFlags } from './flags';
import { runCommand } from './run';
import { Style } from './terminal';

interface GenerateFlags extends LoadFlags, SamplingFlags {
  raw?: boolean;
  system?: string;
  json?: boolean;
}

export function addGenerateCommand(program: Command): void {
  const command = program
    .command('generate')
    .description('answer one prompt and end')
    .argument('[prompt]', 'the prompt; without one it is read from standard input, up to the blanks at its end');
  addSamplingFlags(addKeepFlag(addLoadFlags(command)))
    .addOption(
      new Option(
        '--raw',
        'continue the prompt exactly as it is: no chat template, and blanks at the end of standard input count',
      ).conflicts('system'),
    )
    .option('--system <text>', 'a system message before the prompt')
    .option('--json', 'print the whole result as one line of JSON instead of streaming text')
    .addHelpText(
      'after',
      `
Examples:
  foretoken generate "Explain how a hash table works."
  cat notes.txt | foretoken generate --system "Summarise in two sentences."
  foretoken generate --raw "def quicksort(items):" -n 200 --stop $'\\n\\n\\n'
  foretoken generate "Name three rivers." --temperature 0.8 --seed 7 --json`,
    )
    .action((prompt: string | undefined, flags: GenerateFlags) =>
      runCommand((signal) => generate(prompt, flags, signal)),
    );
}

async function generate(given: string | undefined, flags: GenerateFlags, signal: AbortSignal): Promise<void> {
  const prompt = given ?? (await readPrompt(flags, signal));
  await withEngine(flags, signal, async (engine) => {
    const result = await answer(engine, prompt, flags, signal);
    if (flags.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else if (process.stderr.isTTY) process.stderr.write(`${new Style(process.stderr).dim(summary(result))}\n`);
  });
}

async function answer(
  engine: Engine,
  prompt: string,
  flags: GenerateFlags,
  signal: AbortSignal,
): Promise<GenerateResult> {
  const options = { ...samplingOptions(flags), signal };
  const system = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }];
  const plain = flags.raw ?? !engine.model.chat;
  if (plain && flags.system !== undefined)
    throw new ForetokenError(
      'NO_CHAT_TEMPLATE',
      'The model has no chat template: a system message has no place in it.',
    );
  const stream = plain
    ? engine.stream(prompt, options)
    : engine.chatStream([...system, { role: 'user', content: prompt }], options);
  if (!flags.json) {
    for await (const chunk of stream) process.stdout.write(chunk.text);
    process.stdout.write('\n');
  }
  return stream.result;
}

function summary({ usage, timings, speculation }: GenerateResult): string {
  const speed = `${timings.tokensPerSecond.toFixed(1)} tokens/s`;
  return `${usage.completionTokens} tokens, ${speed}, ${speculation.acceptanceLength.toFixed(2)} tokens per pass`;
}

/** The prompt from standard input: most programs end their text with a newline, which is no part of a question. */
async function readPrompt({ raw }: GenerateFlags, signal: AbortSignal): Promise<string> {
  if (process.stdin.isTTY)
    process.stderr.write(`${new Style(process.stderr).dim('The prompt, and Ctrl-D at its end:')}\n`);
  const text = await readStandardInput(signal);
  const prompt = raw ? text : text.trimEnd();
  if (prompt === '')
    throw new ForetokenError('INVALID_PROMPT', 'There is no prompt: none was given, and standard input is empty.');
  return prompt;
}

/** A signal ends the wait for input that may never end. */
async function readStandardInput(signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of addAbortSignal(signal, process.stdin)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
