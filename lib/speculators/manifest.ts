import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ForetokenError, reading, writing } from '../error';
import { replaceFile } from '../replace-file';

/** Why a version was chosen or left: numbers and words, such as the bound of a gain and what it was found on. */
export type Evidence = Record<string, number | string>;

/** One head that was promoted. */
export interface HeadVersion {
  version: number;
  /** The version that it was learned from; 0 = the static head. */
  parent: number;
  /** Its file, beside the manifest. */
  file: string;
  origin: 'learned' | 'imported';
  /** The weights that it was found better with: for others it has to be judged again. Absent where somebody chose it, whatever the weights. */
  weights?: string;
  /** When it was promoted, as ISO 8601. */
  promoted: string;
  /** Tenants whose text it has learned from, those of its parents included. */
  tenants: string[];
  evidence: Evidence;
  /** When it was left for an earlier version, and why. */
  rolledBack?: { at: string; evidence: Evidence };
}

/** All that is kept of the heads of one tenant. */
export interface Manifest {
  /** Hash of the model's source. */
  model: string;
  tenant: string;
  /** The version that drafts; 0 = the static head. */
  live: number;
  /** Number of the next version. */
  next: number;
  /** Oldest first. */
  versions: HeadVersion[];
}

/** Raised whenever manifests of older versions would be misread. */
const format = 'foretoken speculator 1';

/** The manifest of a tenant of which nothing is kept yet. */
export function emptyManifest(model: string, tenant: string): Manifest {
  return { model, tenant, live: 0, next: 1, versions: [] };
}

/**
 * Reads a folder's manifest; undefined where there is none.
 *
 * @throws ForetokenError MANIFEST_INVALID, FILE_UNREADABLE where it may be whole
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const path = manifestPath(folder);
  const text = await reading(path, textOf(path));
  if (text === undefined) return undefined;
  let read: (Manifest & { format?: string }) | null;
  try {
    read = JSON.parse(text) as Manifest & { format?: string };
  } catch {
    throw invalid(path, 'it is no JSON');
  }
  if (read?.format !== format) throw invalid(path, `it is no '${format}' file`);
  if (!isWhole(read)) throw invalid(path, 'something in it is missing or of the wrong type');
  const { model, tenant, live, next, versions } = read;
  return { model, tenant, live, next, versions };
}

/** Undefined where there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** Replaces a folder's manifest: what it says holds from then on. Throws WRITE_FAILED. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const path = manifestPath(folder);
  await writing(path, replaceFile(path, [`${JSON.stringify({ format, ...manifest }, undefined, 2)}\n`]));
}

/** The version that drafts; undefined = the static head does. */
export function liveVersion({ live, versions }: Manifest): HeadVersion | undefined {
  return versions.find(({ version }) => version === live);
}

/** Where a folder's manifest is. */
export function manifestPath(folder: string): string {
  return join(folder, 'manifest.json');
}

function isWhole({ model, tenant, live, next, versions }: Manifest): boolean {
  return (
    typeof model === 'string' &&
    typeof tenant === 'string' &&
    Number.isInteger(live) &&
    Number.isInteger(next) &&
    Array.isArray(versions) &&
    versions.every(isWholeVersion) &&
    (live === 0 || versions.some(({ version }) => version === live))
  );
}

/** A file's name is a name and no path: nothing outside of the folder is ever read or removed. */
function isWholeVersion(each: HeadVersion | null): boolean {
  const { version, parent, file, promoted, tenants, evidence, weights, rolledBack } =
    each ?? ({} as Partial<HeadVersion>);
  return (
    (weights === undefined || typeof weights === 'string') &&
    Number.isInteger(version) &&
    Number.isInteger(parent) &&
    typeof file === 'string' &&
    /^head-\d+\.safetensors$/.test(file) &&
    typeof promoted === 'string' &&
    Array.isArray(tenants) &&
    tenants.every((tenant) => typeof tenant === 'string') &&
    isEvidence(evidence) &&
    (rolledBack === undefined || (typeof rolledBack?.at === 'string' && isEvidence(rolledBack.evidence)))
  );
}

function isEvidence(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function invalid(path: string, why: string): ForetokenError {
  return new ForetokenError('MANIFEST_INVALID', `${path} can't be used: ${why}. Remove its folder to start anew.`);
}
