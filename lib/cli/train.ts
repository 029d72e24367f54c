import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { cacheFolder } from '../models/cache';
import { ownSpeculators } from '../speculators/folders';
import { readPrompts, readTexts } from '../speculators/prompts';
import { trainStatic } from '../speculators/train-static';
import type { HeadReport } from '../speculators/train-head';
import type { StaticReport } from '../speculators/train-static';
import { runCommand } from './run';
import { ProgressDisplay } from './terminal';

interface TrainFlags {
  model: string;
  prompts?: string[];
  texts: string[];
  out?: string;
  from?: string;
  threads?: number;
  parallel: number;
  answerTokens: number;
  memoryTokens: number;
  draftTokens: number;
  epochs: number;
  rows: number;
  minutes?: number;
  head: boolean;
  json?: boolean;
}

export function addTrainCommand(program: Command): void {
  const train = program.command('train').description('make speculators for a model');
  train
    .command('static')
    .description('what a model drafts from before any traffic: a memory of what it answers to prompts, and a head')
    .option('--prompts <path...>', 'files (.jsonl, .txt, .md) or folders of prompts to answer; default: it asks itself')
    .option(
      '--out <folder>',
      "where memory, head and report go; default: the cache folder, where engines find the model's",
    )
    .option('--texts <path...>', 'files or folders of texts, or of tokens, that the head learns from as well', [])
    .option('--model <ref>', "'default', a path, or a Hugging Face repository", 'default')
    .option('--threads <n>', 'compute threads; default: physical cores', whole(1, 256))
    .option('--parallel <n>', 'answers written at once, at most 64', whole(1, 64), 16)
    .option('--answer-tokens <n>', 'most tokens of an answer', whole(1), 144)
    .option('--memory-tokens <n>', 'so many tokens of answers', whole(1), 200_000)
    .option('--from <file>', 'a head to go on from; it keeps the tokens that it can draft')
    .option('--draft-tokens <n>', 'tokens that a new head can draft, down to a multiple of 16', whole(16), 8192)
    .option('--epochs <n>', 'passes over answers and texts', whole(1, 1000), 1)
    .option('--rows <n>', 'positions of a step of training', whole(16, 1 << 20), 2048)
    .option('--minutes <n>', 'stop training after so many minutes, to go on another time', whole(1))
    .addOption(
      new Option('--no-head', 'the memory alone: minutes instead of an hour').conflicts([
        ...['texts', 'from', 'draftTokens', 'epochs', 'rows', 'minutes'], // of the head
      ]),
    )
    .option('--json', 'print the report as one line of JSON')
    .addHelpText(
      'after',
      `
Examples:
  foretoken train static --model model.gguf --no-head
  foretoken train static --model model.gguf --prompts questions.jsonl --texts handbook.md --out speculators

What lies in the cache folder is drafted from whenever the model is loaded; a memory at once, a head where it is asked for. The texts of prompts are kept while a run is under way, so that it can go on after an interruption, and not longer.`,
    )
    .action((flags: TrainFlags) => runCommand((signal) => run(flags, signal)));
}

async function run(flags: TrainFlags, signal: AbortSignal): Promise<void> {
  const prompts = flags.prompts && (await readPrompts(flags.prompts));
  const texts = await readTexts(flags.texts);
  const display = new ProgressDisplay();
  try {
    const report = await trainStatic(flags.model, prompts, flags.out ?? ownSpeculators(cacheFolder()), {
      ...{ texts, head: flags.head, from: flags.from, threads: flags.threads, parallel: flags.parallel },
      ...{ answerTokens: flags.answerTokens, memoryTokens: flags.memoryTokens, draftTokens: flags.draftTokens },
      ...{ epochs: flags.epochs, rowsPerStep: flags.rows },
      maxSeconds: flags.minutes === undefined ? undefined : flags.minutes * 60,
      onProgress: display.update,
      onStep: ({ step, steps, kl, heldBack }) =>
        display.update({ stage: 'training', done: step, total: steps, note: noteOf(kl, heldBack?.acceptanceLength) }),
      signal,
    });
    display.stop();
    process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : describe(report, flags));
  } finally {
    display.stop();
  }
}

function noteOf(kl: number, acceptanceLength: number | undefined): string {
  const length = acceptanceLength === undefined ? '' : `, acceptance length ${acceptanceLength.toFixed(2)}`;
  return `loss ${kl.toFixed(2)}${length}`;
}

function describe({ memory, head }: StaticReport, { model, out }: TrainFlags): string {
  const loops = `${memory.loops} answers that ran in circles were cut short`;
  const tooLong = memory.tooLong > 0 ? `, ${memory.tooLong} prompts too long for the context were left out` : '';
  const lines = [`${memory.path}: ${memory.tokens} tokens; ${loops}${tooLong}`];
  if (head) lines.push(describeHead(head));
  const memories = out === undefined ? [] : ['--memory', memory.path];
  const heads = head?.path === undefined ? [] : out === undefined ? ['--head'] : ['--head-file', head.path];
  const isDone = !head || head.path !== undefined;
  if (isDone) lines.push(shell('foretoken', 'chat', '--model', model, ...memories, ...heads));
  return `${lines.join('\n')}\n`;
}

function describeHead({ path, step, steps, heldBack, evaluations }: HeadReport): string {
  const length = evaluations.at(-1)?.acceptanceLength.toFixed(2) ?? 'unknown';
  const found = heldBack > 0 ? `acceptance length ${length} on held-back texts` : 'too few texts to hold any back';
  return `${path ?? 'head, to be continued'}: step ${step} of ${steps}, ${found}`;
}

/** A command as a shell takes it. */
function shell(...words: string[]): string {
  return words.map((word) => (/^[\w./:@=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}

/** Reads a whole number within the bounds of what it is for: answering takes minutes, and nothing after it may refuse a flag. */
function whole(least: number, most = Infinity): (text: string) => number {
  const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}
