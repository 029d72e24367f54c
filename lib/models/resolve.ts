import { open, readdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { ForetokenError, reading } from '../error';
import { defaultModel, fetchDefaultModel, type FetchOptions } from './default-model';
import { fetchHubModel, parseHubRef, type ResolvedModel } from './hub';

/**
 * Finds a model, downloading it if need be.
 *
 * @param ref One of
 *   - `default`: SmolLM2-135M-Instruct;
 *   - a path of a GGUF file, or of a folder with config.json and safetensors files (or with one GGUF file);
 *   - a Hugging Face repository, `owner/name[:file.gguf][@revision]`, with or without `hf:` before it.
 *   What exists on disk goes before what might exist on the hub.
 * @throws ForetokenError `MODEL_NOT_FOUND` if it is none of these, `MODEL_AMBIGUOUS` if it is several, `FILE_UNREADABLE` if
 *   it can't be read, and what fetching throws: see `fetchDefaultModel` and `fetchHubModel`.
 */
export async function resolveModel(ref: string, options: FetchOptions = {}): Promise<ResolvedModel> {
  if (ref === 'default') {
    return { kind: 'gguf', path: await fetchDefaultModel(options), sha256: defaultModel.sha256 };
  }
  const hubRef = parseHubRef(ref);
  if (hubRef && ref.startsWith('hf:')) return fetchHubModel(hubRef, options);
  const path = resolve(ref.startsWith('~/') ? join(homedir(), ref.slice(2)) : ref);
  const info = await stat(path).catch(() => undefined);
  if (info) return info.isDirectory() ? localFolder(path) : localFile(path);
  if (hubRef && !/^[.~/]/.test(ref) && !/^[^/:]+\/[^/:]+\.(gguf|safetensors)$/.test(ref)) {
    return fetchHubModel(hubRef, options);
  }
  throw notFound(
    `${ref} is neither a file or folder here, nor a repository like owner/name or owner/name:file.gguf, nor "default"`,
  );
}

async function localFile(path: string): Promise<ResolvedModel> {
  if (path.endsWith('.safetensors')) return localFolder(dirname(path));
  if ((await reading(path, readMagic(path))) === 'GGUF') return { kind: 'gguf', path };
  throw notFound(`${path} is not a GGUF file`);
}

async function readMagic(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}

async function localFolder(path: string): Promise<ResolvedModel> {
  const names = await reading(path, readdir(path));
  if (names.includes('config.json') && names.some((name) => name.endsWith('.safetensors'))) {
    return { kind: 'safetensors', path };
  }
  const files = names.filter((name) => name.endsWith('.gguf'));
  if (files.length === 1) return localFile(join(path, files[0]));
  if (files.length > 1) {
    const list = files.map((name) => `\n  ${join(path, name)}`).join('');
    throw new ForetokenError('MODEL_AMBIGUOUS', `${path} has several GGUF files; choose one:${list}`);
  }
  throw notFound(`${path} has neither config.json with safetensors files nor a GGUF file`);
}

function notFound(message: string): ForetokenError {
  return new ForetokenError('MODEL_NOT_FOUND', message);
}
