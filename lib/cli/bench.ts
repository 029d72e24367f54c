import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../binding';
import { ForetokenError } from '../error';
import { runCommand } from './run';

export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .description("run the repository's benches, such as decode or spec; without arguments it lists them")
    .argument('[args...]', 'suite and its options')
    .allowUnknownOption()
    .helpOption(false)
    .addHelpText(
      'after',
      '\nExamples:\n  foretoken bench spec --json spec.json\n  foretoken bench spec --help           options of a suite',
    )
    .action((args: string[], _options: object, command: Command) => {
      // Help on suites is theirs, which have to be compiled first.
      if (/^(-h|--help)$/.test(args[0])) return command.outputHelp();
      return runCommand(() => Promise.resolve(runBench(args)));
    });
}

function runBench(args: string[]): void {
  const script = join(packageRoot(), 'scripts', 'bench.js');
  if (!existsSync(script) || !existsSync(join(packageRoot(), 'bench'))) {
    throw new ForetokenError(
      'BENCH_NOT_INSTALLED',
      'The benches are part of the repository, not of the installed package. In a clone of it, run "npm install", ' +
        `then "npm run bench -- ${args.join(' ') || 'decode'}". ` +
        '"npx foretoken demo" compares plain and speculative decoding here and now.',
    );
  }
  const { status } = spawnSync(process.execPath, [script, ...args], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
}
