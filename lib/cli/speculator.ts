import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { loadBinding } from '../binding';
import { readMetadata } from '../engine/model-source';
import { readTenant } from '../engine/names';
import { OptionReader } from '../engine/validate';
import { callNative } from '../error';
import { cacheFolder } from '../models/cache';
import { tokenizerHash } from '../models/metadata';
import { resolveModel } from '../models/resolve';
import { tenantsOf } from '../speculators/head-file';
import { copyWhole, SpeculatorStore, storedModels } from '../speculators/store';
import type { StoredTenant } from '../speculators/store';
import type { HeadVersion, Manifest } from '../speculators/manifest';
import { runCommand } from './run';
import { ProgressDisplay, Style, formatBytes, printable } from './terminal';

interface ModelFlags {
  model: string;
  json?: boolean;
}

interface TenantFlags extends ModelFlags {
  tenant: string;
}

export function addSpeculatorCommand(program: Command): void {
  const group = program
    .command('speculator')
    .description('what tenants taught: promoted heads, their evidence, remembered text');
  group.addHelpText(
    'after',
    `
Examples:
  foretoken speculator list
  foretoken speculator show --tenant acme
  foretoken speculator export --tenant acme --out acme.head.safetensors
  foretoken speculator import acme.head.safetensors --tenant acme
  foretoken speculator rollback --tenant acme --to 2
  foretoken speculator reset --tenant acme`,
  );
  group
    .command('list')
    .description('all models and tenants of whom something is kept')
    .option('--json', 'print it as one line of JSON')
    .action((flags: { json?: boolean }) => runCommand(() => list(flags)));
  forTenant(group.command('show'), 'the versions of a tenant, with what they were promoted on').action(
    (flags: TenantFlags) => runCommand((signal) => show(flags, signal)),
  );
  forTenant(
    group.command('export'),
    "copy a tenant's head, the live version unless another is named; the copy names those whose text it has learned from",
  )
    .requiredOption('--out <file>', 'where it goes')
    .option('--head <n>', 'which version of it', versionNumber)
    .action((flags: TenantFlags & { out: string; head?: number }) => runCommand((signal) => exportHead(flags, signal)));
  forTenant(group.command('import'), "make a head's file a tenant's live version; another model's is refused")
    .argument('<file>', 'a head that was exported or trained')
    .action((file: string, flags: TenantFlags) => runCommand((signal) => importHead(file, flags, signal)));
  forTenant(group.command('rollback'), 'leave the live version for an earlier one')
    .option('--to <n>', 'a version, 0 = the static head (default: what the live one was learned from)', versionNumber)
    .action((flags: TenantFlags & { to?: number }) => runCommand((signal) => rollBack(flags, signal)));
  forTenant(
    group.command('reset'),
    'drop all that is kept of what a tenant taught, also versions of others that learned from it; engines that run know it until they ' +
      'are told as well (engine.forget), and may write down what they learn from it',
  ).action((flags: TenantFlags) => runCommand((signal) => reset(flags, signal)));
}

function forTenant(command: Command, description: string): Command {
  return command
    .description(description)
    .option('-m, --model <ref>', "'default', a GGUF file, a safetensors folder or a Hugging Face repository", 'default')
    .option('--tenant <name>', 'whose', tenantName, 'default')
    .option('--json', 'print the outcome as one line of JSON');
}

async function list({ json }: { json?: boolean }): Promise<void> {
  const cache = cacheFolder();
  const tenants: StoredTenant[] = [];
  for (const model of await storedModels(cache)) tenants.push(...(await new SpeculatorStore(cache, model).tenants()));
  if (json) return printJson(tenants);
  if (tenants.length === 0) process.stdout.write('nothing is kept yet\n');
  for (const { model, tenant, live, versions, memory, bytes } of tenants) {
    const heads = versions.length > 0 ? [`${named(live)} of ${versions.length} kept`] : [];
    const kept = [...heads, ...(memory ? ['remembered text'] : []), formatBytes(bytes)];
    process.stdout.write(`${model}  ${printable(tenant)}: ${kept.join(', ')}\n`);
  }
}

async function show(flags: TenantFlags, signal: AbortSignal): Promise<void> {
  const { store } = await openStore(flags.model, signal);
  const manifest = await store.manifest(flags.tenant);
  const hasText = store.memoryPath(flags.tenant) !== undefined;
  if (flags.json || manifest.versions.length > 0) print(manifest, flags);
  else if (!hasText) process.stdout.write(`nothing is kept of ${printable(flags.tenant)}\n`);
  if (!flags.json && hasText) process.stdout.write(`text of ${printable(flags.tenant)} is remembered\n`);
}

async function exportHead(flags: TenantFlags & { out: string; head?: number }, signal: AbortSignal): Promise<void> {
  const { store } = await openStore(flags.model, signal);
  await store.exportHead(flags.tenant, flags.out, flags.head);
  const { live } = await store.manifest(flags.tenant);
  const version = flags.head ?? live;
  if (flags.json) return printJson({ version, path: flags.out });
  process.stdout.write(`${flags.out}: ${named(version)} of ${printable(flags.tenant)}\n`);
}

async function importHead(file: string, flags: TenantFlags, signal: AbortSignal): Promise<void> {
  const { store, tokenizer } = await openStore(flags.model, signal);
  const shape = await callNative(() => loadBinding().inspectHead(file, store.model, tokenizer));
  const version = await store.promote(flags.tenant, {
    origin: 'imported',
    tenants: [flags.tenant, ...(await tenantsOf(file))],
    evidence: { file },
    write: (path) => copyWhole(file, path),
  });
  if (flags.json) return printJson({ ...version, shape });
  process.stdout.write(`${printable(flags.tenant)} drafts with version ${version.version} from now on: ${file}\n`);
}

async function rollBack(flags: TenantFlags & { to?: number }, signal: AbortSignal): Promise<void> {
  const { store } = await openStore(flags.model, signal);
  print(await store.rollBack(flags.tenant, flags.to, { by: 'hand' }), flags);
}

async function reset(flags: TenantFlags, signal: AbortSignal): Promise<void> {
  const { store } = await openStore(flags.model, signal);
  await store.forget(flags.tenant);
  if (flags.json) return printJson({ tenant: flags.tenant });
  process.stdout.write(`nothing is kept of ${printable(flags.tenant)} any more\n`);
}

/** A model's store, and what its heads are bound to. */
async function openStore(ref: string, signal: AbortSignal): Promise<{ store: SpeculatorStore; tokenizer: string }> {
  const progress = new ProgressDisplay();
  try {
    const binding = loadBinding();
    const { path } = await resolveModel(ref, { onProgress: progress.update, signal });
    const tokenizer = tokenizerHash(await readMetadata(path, binding));
    const hash = await callNative(() => binding.hashModel(path));
    return { store: new SpeculatorStore(cacheFolder(), hash), tokenizer };
  } finally {
    progress.stop();
  }
}

function print(manifest: Manifest, { json }: { json?: boolean }): void {
  if (json) return printJson(manifest);
  const style = new Style(process.stdout);
  process.stdout.write(`${style.bold(printable(manifest.tenant))} drafts with ${named(manifest.live)}\n`);
  for (const version of manifest.versions) process.stdout.write(`${describe(version)}\n`);
}

function describe({ version, parent, origin, promoted, evidence, rolledBack }: HeadVersion): string {
  const lines = [`  ${version}  ${origin} ${promoted}, from ${named(parent)}: ${said(evidence)}`];
  if (rolledBack) lines.push(`     left ${rolledBack.at}: ${said(rolledBack.evidence)}`);
  return lines.join('\n');
}

function said(evidence: HeadVersion['evidence']): string {
  const facts = Object.entries(evidence).map(([name, value]) => {
    return `${name} ${typeof value === 'number' ? Number(value.toPrecision(4)) : value}`;
  });
  return facts.join(', ') || 'no evidence';
}

function named(version: number): string {
  return version === 0 ? 'the static head' : `version ${version}`;
}

function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** A name that no request could give is a slip, such as a variable of a shell that is not set. */
function tenantName(tenant: string): string {
  try {
    return readTenant(new OptionReader({ tenant }, 'options'));
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
}

function versionNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < 0) {
    throw new InvalidArgumentError('Expected the number of a version.');
  }
  return value;
}
