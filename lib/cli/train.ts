import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { Engine } from '../engine/engine';
import { readPrompts, readTexts } from '../speculators/prompts';
import { trainHead } from '../speculators/train-head';
import { trainStatic } from '../speculators/train-static';
import { runCommand } from './run';
import { ProgressDisplay } from './terminal';

interface TrainFlags {
  model: string;
  prompts: string[];
  out: string;
  threads?: number;
  parallel: number;
  answerTokens: number;
  memoryTokens: number;
  json?: boolean;
}

export function addTrainCommand(program: Command): void {
  const train = program.command('train').description('make speculators for a model');
  train
    .command('static')
    .description('fill a static memory with what the model itself answers to prompts')
    .requiredOption('--prompts <path...>', 'files (.jsonl, .txt, .md) or folders of prompts; their text is not kept')
    .requiredOption('--out <folder>', 'where the memory goes, as a file named after the model')
    .option('--model <ref>', "'default', a path, or a Hugging Face repository", 'default')
    .option('--threads <n>', 'compute threads; default: physical cores', count)
    .option('--parallel <n>', 'answers written at once', count, 16)
    .option('--answer-tokens <n>', 'most tokens of an answer', count, 144)
    .option('--memory-tokens <n>', 'stop after so many tokens', count, 200_000)
    .option('--json', 'print what was made as one line of JSON')
    .addHelpText(
      'after',
      `
Examples:
  foretoken train static --prompts questions.jsonl --out speculators
  foretoken chat --memory speculators/<model>.memory.safetensors`,
    )
    .action((flags: TrainFlags) => runCommand((signal) => run(flags, signal)));
  addTrainHead(train);
}

interface TrainHeadFlags {
  model: string;
  texts: string[];
  out: string;
  threads?: number;
  from?: string;
  draftTokens: number;
  epochs: number;
  rows: number;
  minutes?: number;
  json?: boolean;
}

function addTrainHead(train: Command): void {
  train
    .command('head')
    .description('train a draft head on what the model makes of texts; an interrupted run goes on where it was')
    .requiredOption('--texts <path...>', 'files or folders of texts, .txt, .md or .jsonl, or of tokens')
    .requiredOption('--out <folder>', 'where the head goes, as a file named after the model, with its report')
    .option('--model <ref>', "'default', a path, or a Hugging Face repository", 'default')
    .option('--threads <n>', 'compute threads; default: physical cores', count)
    .option('--from <file>', 'a head to go on from')
    .option('--draft-tokens <n>', 'tokens that the head can draft', count, 8192)
    .option('--epochs <n>', 'passes over the texts', count, 1)
    .option('--rows <n>', 'positions of a step', count, 2048)
    .option('--minutes <n>', 'stop after so many minutes, to go on another time', count)
    .option('--json', 'print the report as one line of JSON')
    .action((flags: TrainHeadFlags) => runCommand((signal) => runHead(flags, signal)));
}

async function runHead(flags: TrainHeadFlags, signal: AbortSignal): Promise<void> {
  const texts = await readTexts(flags.texts);
  const display = new ProgressDisplay();
  try {
    const report = await trainHead(flags.model, texts, flags.out, {
      threads: flags.threads,
      from: flags.from,
      draftTokens: flags.draftTokens,
      epochs: flags.epochs,
      rowsPerStep: flags.rows,
      maxSeconds: flags.minutes === undefined ? undefined : flags.minutes * 60,
      onProgress: display.update,
      onStep: ({ step, steps }) => display.update({ stage: 'steps', done: step, total: steps }),
      signal,
    });
    display.stop();
    const { path, step, steps, evaluations } = report;
    const length = evaluations.at(-1)?.acceptanceLength.toFixed(2) ?? 'unknown';
    process.stdout.write(
      flags.json
        ? `${JSON.stringify(report)}\n`
        : `${path ?? 'to be continued'}: step ${step} of ${steps}, acceptance length ${length} on held-back texts\n`,
    );
  } finally {
    display.stop();
  }
}

async function run(flags: TrainFlags, signal: AbortSignal): Promise<void> {
  const prompts = await readPrompts(flags.prompts);
  const display = new ProgressDisplay();
  const engine = await Engine.load(flags.model, {
    threads: flags.threads,
    maxSequences: flags.parallel,
    contextLength: 2048,
    indexBytes: 2 ** 30,
    memory: false,
    onProgress: display.update,
    signal,
  });
  try {
    const report = await trainStatic(engine, prompts, flags.out, flags.parallel, {
      answerTokens: flags.answerTokens,
      memoryTokens: flags.memoryTokens,
      onProgress: ({ tokens }) =>
        display.update({ stage: 'tokens remembered', done: tokens, total: flags.memoryTokens }),
      signal,
    });
    display.stop();
    const { path, tokens, prompts: answered, loops } = report;
    process.stdout.write(
      flags.json
        ? `${JSON.stringify(report)}\n`
        : `${path}: ${tokens} tokens from ${answered} answers; ${loops} that ran in circles were cut short\n`,
    );
  } finally {
    display.stop();
    await engine.close();
  }
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number above 0');
  return value;
}
