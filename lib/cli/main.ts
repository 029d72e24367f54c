#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { packageRoot } from '../binding';
import { addBenchCommand } from './bench';
import { addChatCommand } from './chat';
import { addDemoCommand } from './demo';
import { addGenerateCommand } from './generate';
import { addInspectCommand } from './inspect';
import { addPullCommand } from './pull';
import { addSpeculatorCommand } from './speculator';
import { addTrainCommand } from './train';

function version(): string {
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

const program = new Command('foretoken')
  .description('Language models that decode faster by drafting ahead, with the very same text.')
  .version(version())
  .showHelpAfterError('(--help says what there is)')
  .addHelpText(
    'after',
    `
Examples:
  foretoken demo                              what drafting ahead brings, on real prompts
  foretoken chat                              talk to the default model
  foretoken generate "Why is the sky blue?"   one answer
  foretoken inspect model.gguf                what a file holds

FORETOKEN_HOME moves the folder for downloads and converted weights.`,
  );

addChatCommand(program);
addGenerateCommand(program);
addDemoCommand(program);
addPullCommand(program);
addTrainCommand(program);
addSpeculatorCommand(program);
addInspectCommand(program);
addBenchCommand(program);

// A reader that has seen enough (| head) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

void program.parseAsync();
