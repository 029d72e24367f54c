import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ForetokenError, writing } from '../error';
import { replaceFile } from '../replace-file';
import { checkArchitecture } from './architectures';
import { cacheFolder } from './cache';
import type { FetchOptions } from './default-model';
import { download, type Digest } from './download';
import { HubClient, type HubFile } from './hub-client';
import { withLock } from './lock';
import { metadataFromFolder, TOOL_TEMPLATE } from './metadata';

/** A model of a Hugging Face repository. */
export interface HubRef {
  /** `owner/name`. */
  name: string;
  /** A GGUF file of the repository; undefined: the only one, or the safetensors folder. */
  file?: string;
  /** Branch, tag or commit. */
  revision: string;
}

/** A model on disk. */
export interface ResolvedModel {
  kind: 'gguf' | 'safetensors';
  /** The GGUF file, or the folder with config.json and the safetensors files. */
  path: string;
  /** The GGUF file's, where it is known without reading it. */
  sha256?: string;
}

const REF = /^(?:hf:)?([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)(?::([^@]+))?(?:@(.+))?$/;
const COMMIT = /^[0-9a-f]{40}$/;
/** Files that go with safetensors weights, where the repository has them. */
const COMPANIONS = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'generation_config.json',
  'chat_template.jinja',
  TOOL_TEMPLATE,
];
const INDEX = 'model.safetensors.index.json';
const MAX_INDEX = 64 << 20;

/** Reads `owner/name[:file.gguf][@revision]`, with or without `hf:` before it; undefined if it is none. */
export function parseHubRef(ref: string): HubRef | undefined {
  const match = REF.exec(ref);
  if (!match) return undefined;
  const [, name, file, revision = 'main'] = match;
  return { name, file, revision };
}

/**
 * The model of a Hugging Face repository, downloaded unless it is in the cache. Without a network, or where
 * the cache can't be written, what was downloaded before for the same reference is used; that the hub has another one by now is told
 * as progress.
 *
 * @throws ForetokenError `HUB_UNREACHABLE` (within 5 s where there is no network), `HUB_UNAUTHORIZED`, `HUB_FORBIDDEN`,
 *   `HUB_NOT_FOUND`, `HUB_ERROR`, `MODEL_AMBIGUOUS` if a GGUF file must be chosen, `MODEL_NOT_FOUND` if there is none,
 *   `UNSUPPORTED_ARCHITECTURE` and `MODEL_INCOMPLETE` of safetensors before they are fetched, `DOWNLOAD_CORRUPT`, `WRITE_FAILED`.
 */
export async function fetchHubModel(ref: HubRef, options: FetchOptions = {}): Promise<ResolvedModel> {
  const folder = join(options.cache ?? cacheFolder(), 'hub', ref.name.replace('/', '--'));
  const remembered = await recall(folder, ref);
  if (remembered && COMMIT.test(ref.revision)) return remembered;
  const client = new HubClient();
  let commit: string;
  try {
    commit = await client.commit(ref.name, ref.revision, options.signal);
  } catch (error) {
    if (remembered && error instanceof ForetokenError && error.code === 'HUB_UNREACHABLE') return remembered;
    throw error;
  }
  let isLocked = false;
  const work = async (): Promise<ResolvedModel> => {
    isLocked = true;
    const files = await client.files(ref.name, commit, options.signal);
    const snapshot = new Snapshot(client, ref.name, commit, join(folder, commit), files, options);
    const model = await snapshot.fetch(ref.file);
    await remember(folder, ref, model);
    return model;
  };
  try {
    return await withLock(join(folder, 'lock'), work, options.signal);
  } catch (error) {
    const isReadOnly = !isLocked && error instanceof ForetokenError && error.code === 'WRITE_FAILED';
    if (!remembered || !isReadOnly) throw error;
    if (!remembered.path.startsWith(join(folder, commit))) {
      const stage =
        `an older ${ref.name} is used, for that of ${commit.slice(0, 7)} can't be kept: ${error.message}` as const;
      options.onProgress?.({ stage, done: 0, total: 0 });
    }
    return remembered;
  }
}

/** A repository at one commit, and the folder its files go to. */
class Snapshot {
  private readonly byPath: Map<string, HubFile>;

  constructor(
    private readonly client: HubClient,
    private readonly name: string,
    private readonly commit: string,
    private readonly folder: string,
    files: HubFile[],
    private readonly options: FetchOptions,
  ) {
    this.byPath = new Map(files.filter((file) => isSafePath(file.path)).map((file) => [file.path, file]));
  }

  async fetch(wanted: string | undefined): Promise<ResolvedModel> {
    if (wanted !== undefined) return this.gguf(wanted);
    if (this.byPath.has('config.json') && this.has('.safetensors')) return this.safetensors();
    const files = [...this.byPath.keys()].filter((path) => path.endsWith('.gguf'));
    if (files.length === 1) return this.gguf(files[0]);
    if (files.length === 0) {
      throw new ForetokenError(
        'MODEL_NOT_FOUND',
        `${this.name} has neither safetensors with a config.json nor a GGUF file`,
      );
    }
    const list = files.map((path) => `\n  ${this.name}:${path}`).join('');
    throw new ForetokenError('MODEL_AMBIGUOUS', `${this.name} has several GGUF files; choose one:${list}`);
  }

  private has(ending: string): boolean {
    return [...this.byPath.keys()].some((path) => !path.includes('/') && path.endsWith(ending));
  }

  private async gguf(path: string): Promise<ResolvedModel> {
    const file = this.byPath.get(path);
    if (!file) throw new ForetokenError('HUB_NOT_FOUND', `${this.name} has no file ${path} at ${this.commit}`);
    return { kind: 'gguf', path: await this.get(file), sha256: file.lfs?.oid };
  }

  private async safetensors(): Promise<ResolvedModel> {
    for (const name of COMPANIONS) {
      const file = this.byPath.get(name);
      if (file) await this.get(file);
    }
    // What these show to be of no use here is not worth gigabytes of weights.
    const { architecture } = await metadataFromFolder(this.folder);
    checkArchitecture(architecture, this.name);
    for (const name of await this.weightFiles()) {
      const file = this.byPath.get(name);
      if (!file) throw new ForetokenError('HUB_NOT_FOUND', `${this.name} lacks ${name}, which its index names`);
      await this.get(file);
    }
    return { kind: 'safetensors', path: this.folder };
  }

  /** The index's files, or the single file, or whatever safetensors there are. */
  private async weightFiles(): Promise<string[]> {
    const index = this.byPath.get(INDEX);
    if (index && index.size <= MAX_INDEX) {
      const text = await readFile(await this.get(index), 'utf8');
      try {
        const { weight_map: map } = JSON.parse(text) as { weight_map: Record<string, string> };
        return [...new Set(Object.values(map))];
      } catch (error) {
        throw new ForetokenError('DOWNLOAD_CORRUPT', `${this.name}: ${INDEX} is not an index`, { cause: error });
      }
    }
    if (this.byPath.has('model.safetensors')) return ['model.safetensors'];
    return [...this.byPath.keys()].filter((path) => !path.includes('/') && path.endsWith('.safetensors'));
  }

  private async get(file: HubFile): Promise<string> {
    const target = join(this.folder, ...file.path.split('/'));
    if ((await stat(target).catch(() => undefined))?.size === file.size) return target;
    await download({
      url: this.client.url(this.name, this.commit, file.path),
      target,
      size: file.size,
      digest: digestOf(file),
      request: this.client.request,
      onProgress: this.options.onProgress,
      signal: this.options.signal,
    });
    return target;
  }
}

function digestOf(file: HubFile): Digest {
  const digest: Digest = file.lfs ? { kind: 'sha256', value: file.lfs.oid } : { kind: 'git', value: file.oid ?? '' };
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(digest.value)) return digest;
  throw new ForetokenError('HUB_ERROR', `the hub gives no checksum for ${file.path}`);
}

/** A path that stays inside the folder it is put into. */
function isSafePath(path: string): boolean {
  return !/[\\\0:]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/** What a reference was resolved to last time, while its files are there. */
function memoryPath(folder: string, ref: HubRef): string {
  return join(folder, 'refs', `${encodeURIComponent(ref.revision)}@${encodeURIComponent(ref.file ?? '')}.json`);
}

async function recall(folder: string, ref: HubRef): Promise<ResolvedModel | undefined> {
  try {
    const { kind, path, sha256 } = JSON.parse(await readFile(memoryPath(folder, ref), 'utf8')) as ResolvedModel;
    await stat(join(folder, path));
    return { kind, path: join(folder, path), sha256 };
  } catch {
    return undefined;
  }
}

async function remember(folder: string, ref: HubRef, model: ResolvedModel): Promise<void> {
  const path = memoryPath(folder, ref);
  await writing(path, replaceFile(path, [JSON.stringify({ ...model, path: model.path.slice(folder.length + 1) })]));
}
