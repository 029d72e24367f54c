import { stat } from 'node:fs/promises';
import { ForetokenError, callNative } from '../error';
import { cacheFolder } from '../models/cache';
import { metadataFromFolder, metadataFromGguf } from '../models/metadata';
import type { ModelMetadata } from '../models/metadata';
import { resolveModel } from '../models/resolve';
import { Tokenizer } from '../models/tokenizer';
import type { Binding } from '../native';
import type { CheckedLoadOptions } from './load-options';

/** A model's files, and what TypeScript needs to know of them. */
export interface ModelSource {
  /** A GGUF file or a safetensors folder. */
  path: string;
  cacheFolder: string;
  metadata: ModelMetadata;
  tokenizer: Tokenizer;
}

/** Finds or fetches a model and reads everything but its weights. Throws where it is to end in between. */
export async function openModel(ref: string, options: CheckedLoadOptions, binding: Binding): Promise<ModelSource> {
  const cache = options.cacheFolder ?? cacheFolder();
  const { signal, onProgress, throwIfEnded } = options;
  const { path } = await resolveModel(ref, { cache, signal, onProgress }).catch((error: unknown) => {
    if (!(error instanceof ForetokenError)) throwIfEnded();
    throw error;
  });
  throwIfEnded();
  const metadata = await readMetadata(path, binding);
  throwIfEnded();
  return { path, cacheFolder: cache, metadata, tokenizer: new Tokenizer(metadata) };
}

/** What a model's file or folder says besides its weights. */
export async function readMetadata(path: string, binding: Binding): Promise<ModelMetadata> {
  if ((await stat(path)).isDirectory()) return metadataFromFolder(path);
  return metadataFromGguf(callNative(() => binding.readGgufMetadata(path)));
}
