import type { Command } from 'commander';
import { loadBinding } from '../binding';
import { readMetadata } from '../engine/model-source';
import { callNative } from '../error';
import type { ModelMetadata } from '../models/metadata';
import { resolveModel } from '../models/resolve';
import { Tokenizer } from '../models/tokenizer';
import type { TensorDescription } from '../native';
import { runCommand } from './run';
import { ProgressDisplay, Style, formatBytes } from './terminal';

export function addInspectCommand(program: Command): void {
  program
    .command('inspect')
    .description('say what a model is made of, without loading it')
    .argument('[ref]', "'default', a GGUF file, a safetensors folder or a Hugging Face repository", 'default')
    .option('--tensors', 'list every tensor')
    .option('--json', 'print everything as one line of JSON')
    .addHelpText('after', '\nExamples:\n  foretoken inspect\n  foretoken inspect model.gguf --tensors')
    .action((ref: string, flags: { tensors?: boolean; json?: boolean }) =>
      runCommand((signal) => inspect(ref, flags, signal)),
    );
}

async function inspect(ref: string, flags: { tensors?: boolean; json?: boolean }, signal: AbortSignal): Promise<void> {
  const progress = new ProgressDisplay();
  const binding = loadBinding();
  try {
    const { path, kind } = await resolveModel(ref, { onProgress: progress.update, signal });
    progress.stop();
    const report = describe(
      path,
      kind,
      await readMetadata(path, binding),
      callNative(() => binding.readTensors(path)),
    );
    if (flags.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    else print(report, flags.tensors ?? false);
  } finally {
    progress.stop();
  }
}

/** What `inspect --json` prints. */
interface Report {
  path: string;
  kind: string;
  name: string | undefined;
  architecture: string;
  contextLength: number;
  parameters: number;
  bytes: number;
  /** By type of tensor. */
  types: Record<string, { tensors: number; parameters: number; bytes: number }>;
  /** `bos`: what a prompt begins with, if it begins with a token of that kind. */
  tokenizer: { kind: string; vocabulary: number; bos: string | undefined; endTokens: string[] };
  chatTemplate: string | undefined;
  tensors: TensorDescription[];
}

function describe(path: string, kind: string, metadata: ModelMetadata, tensors: TensorDescription[]): Report {
  const tokenizer = new Tokenizer(metadata);
  const textOf = (id: number): string => tokenizer.decode([id], { special: true, start: false });
  const types: Report['types'] = {};
  for (const { type, shape, bytes } of tensors) {
    const sum = (types[type] ??= { tensors: 0, parameters: 0, bytes: 0 });
    sum.tensors += 1;
    sum.parameters += elements(shape);
    sum.bytes += bytes;
  }
  return {
    path,
    kind,
    name: metadata.name,
    architecture: metadata.architecture,
    contextLength: metadata.contextLength,
    parameters: tensors.reduce((sum, { shape }) => sum + elements(shape), 0),
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    types,
    tokenizer: {
      kind: metadata.tokenizer.kind,
      vocabulary: tokenizer.size,
      bos: tokenizer.addBos ? textOf(tokenizer.bosId!) : undefined,
      endTokens: [...tokenizer.eosIds].map(textOf),
    },
    chatTemplate: metadata.chatTemplate,
    tensors,
  };
}

function elements(shape: number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

function print(report: Report, listTensors: boolean): void {
  const style = new Style(process.stdout);
  const row = (title: string, text: string): void => {
    process.stdout.write(`${style.bold(title.padEnd(14))}${text}\n`);
  };
  row('model', report.name ?? '(no name)');
  row('path', `${report.path} (${report.kind})`);
  row('architecture', report.architecture);
  row('context', `${report.contextLength} tokens`);
  row('weights', `${(report.parameters / 1e6).toFixed(1)} M in ${formatBytes(report.bytes)}`);
  for (const [type, { tensors, parameters, bytes }] of Object.entries(report.types)) {
    row('', `${type.padEnd(6)} ${tensors} tensors, ${(parameters / 1e6).toFixed(1)} M, ${formatBytes(bytes)}`);
  }
  const { kind, vocabulary, bos, endTokens } = report.tokenizer;
  row('tokenizer', `${vocabulary} tokens (${kind}), begins with ${bos ?? 'nothing'}, ends with ${endTokens.join(' ')}`);
  row(
    'template',
    report.chatTemplate === undefined ? 'none: not made for conversations' : `${report.chatTemplate.length} characters`,
  );
  if (!listTensors) return;
  for (const { name, type, shape, bytes } of report.tensors) {
    process.stdout.write(
      `${name.padEnd(40)} ${type.padEnd(6)} ${shape.join(' x ').padEnd(16)} ${formatBytes(bytes)}\n`,
    );
  }
}
