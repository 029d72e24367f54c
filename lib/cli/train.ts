import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { readPrompts, readTexts } from '../speculators/prompts';
import { trainStatic } from '../speculators/train-static';
import type { StaticReport } from '../speculators/train-static';
import { runCommand } from './run';
import { ProgressDisplay } from './terminal';

interface TrainFlags {
  model: string;
  prompts: string[];
  texts: string[];
  out: string;
  from?: string;
  threads?: number;
  parallel: number;
  answerTokens: number;
  memoryTokens: number;
  draftTokens: number;
  epochs: number;
  rows: number;
  minutes?: number;
  json?: boolean;
}

export function addTrainCommand(program: Command): void {
  const train = program.command('train').description('make speculators for a model');
  train
    .command('static')
    .description('what a model drafts from before any traffic: a memory of what it answers to prompts, and a head')
    .requiredOption('--prompts <path...>', 'files (.jsonl, .txt, .md) or folders of prompts, for the model to answer')
    .requiredOption('--out <folder>', 'where memory, head and report go, as files named after the model')
    .option('--texts <path...>', 'files or folders of texts, or of tokens, that the head learns from as well', [])
    .option('--model <ref>', "'default', a path, or a Hugging Face repository", 'default')
    .option('--threads <n>', 'compute threads; default: physical cores', count)
    .option('--parallel <n>', 'answers written at once', count, 16)
    .option('--answer-tokens <n>', 'most tokens of an answer', count, 144)
    .option('--memory-tokens <n>', 'so many tokens of answers', count, 200_000)
    .option('--from <file>', 'a head to go on from')
    .option('--draft-tokens <n>', 'tokens that the head can draft', count, 8192)
    .option('--epochs <n>', 'passes over answers and texts', count, 1)
    .option('--rows <n>', 'positions of a step of training', count, 2048)
    .option('--minutes <n>', 'stop training after so many minutes, to go on another time', count)
    .option('--json', 'print the report as one line of JSON')
    .addHelpText(
      'after',
      `
Examples:
  foretoken train static --model model.gguf --prompts questions.jsonl --texts handbook.md --out speculators

It ends with the command that drafts from both. The texts of prompts are kept while a run is under way, so that it can go on after an interruption, and not longer.`,
    )
    .action((flags: TrainFlags) => runCommand((signal) => run(flags, signal)));
}

async function run(flags: TrainFlags, signal: AbortSignal): Promise<void> {
  const prompts = await readPrompts(flags.prompts);
  const texts = await readTexts(flags.texts);
  const display = new ProgressDisplay();
  try {
    const report = await trainStatic(flags.model, prompts, flags.out, {
      ...{ texts, from: flags.from, threads: flags.threads, parallel: flags.parallel },
      ...{ answerTokens: flags.answerTokens, memoryTokens: flags.memoryTokens, draftTokens: flags.draftTokens },
      ...{ epochs: flags.epochs, rowsPerStep: flags.rows },
      maxSeconds: flags.minutes === undefined ? undefined : flags.minutes * 60,
      onProgress: display.update,
      onStep: ({ step, steps, kl, heldBack }) =>
        display.update({ stage: 'training', done: step, total: steps, note: noteOf(kl, heldBack?.acceptanceLength) }),
      signal,
    });
    display.stop();
    process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : describe(report, flags.model));
  } finally {
    display.stop();
  }
}

function noteOf(kl: number, acceptanceLength: number | undefined): string {
  const length = acceptanceLength === undefined ? '' : `, acceptance length ${acceptanceLength.toFixed(2)}`;
  return `loss ${kl.toFixed(2)}${length}`;
}

function describe({ memory, head }: StaticReport, model: string): string {
  const length = head.evaluations.at(-1)?.acceptanceLength.toFixed(2) ?? 'unknown';
  const found = head.heldBack > 0 ? `acceptance length ${length} on held-back texts` : 'too few texts to hold any back';
  return (
    `${memory.path}: ${memory.tokens} tokens; ${memory.loops} answers that ran in circles were cut short\n` +
    `${head.path ?? 'head, to be continued'}: step ${head.step} of ${head.steps}, ${found}\n` +
    (head.path === undefined
      ? ''
      : `${shell('foretoken', 'chat', '--model', model, '--memory', memory.path, '--head-file', head.path)}\n`)
  );
}

/** A command as a shell takes it. */
function shell(...words: string[]): string {
  return words.map((word) => (/^[\w./:@=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number above 0');
  return value;
}
