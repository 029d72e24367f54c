import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ForetokenError, reading, writing } from '../error';
import { makeTemporaryFolder } from '../models/cache';
import { withLock } from '../models/lock';
import { replaceByCopy, syncFolder } from '../replace-file';
import { ownSpeculators } from './folders';
import { copyWithTenants } from './head-file';
import { emptyManifest, liveVersion, manifestPath, readManifest, writeManifest } from './manifest';
import type { Evidence, HeadVersion, Manifest } from './manifest';
import { joinMemories, readMemory, writeMemory } from './memory';
import type { Memory } from './memory';

/** Versions of a tenant that are kept; beyond that the oldest go, but never the one that drafts nor its parent. */
export const keptVersions = 8;

const memoryFile = 'memory.safetensors';

/** A head that is about to become a version. */
export interface NewHead extends Pick<HeadVersion, 'origin' | 'evidence' | 'weights'> {
  /** The version that it was learned from; the live one by default. */
  parent?: number;
  /** Tenants whose text it has learned from, beyond those of its parent. */
  tenants: readonly string[];
  /** Writes it. */
  write: (path: string) => Promise<unknown>;
}

/** What is kept of one tenant, with its size on disk. */
export interface StoredTenant extends Manifest {
  /** Bytes of heads and memory. */
  bytes: number;
  memory: boolean;
}

/**
 * What tenants taught, as files: promoted heads with their evidence, and remembered text. One folder per model, known by the hash of its
 * source, and in it one per tenant. A manifest names the files that count and is replaced in one step, so that whoever dies on the way
 * leaves the state before or after; files that no manifest names are removed by the next change.
 */
export class SpeculatorStore {
  readonly #folder: string;

  /** @param cache The user's cache folder. */
  constructor(
    cache: string,
    readonly model: string,
  ) {
    this.#folder = join(ownSpeculators(cache), model);
  }

  /** All tenants of whom something is kept, by name. */
  async tenants(): Promise<StoredTenant[]> {
    const found: StoredTenant[] = [];
    for (const folder of await this.#folders()) {
      const manifest = await readManifest(folder);
      if (!manifest) continue;
      found.push({ ...manifest, bytes: await bytesIn(folder), memory: existsSync(join(folder, memoryFile)) });
    }
    return found.sort((a, b) => (a.tenant < b.tenant ? -1 : 1));
  }

  /** What is kept of a tenant's heads; an empty one where nothing is. Throws MANIFEST_INVALID, FILE_UNREADABLE. */
  async manifest(tenant: string): Promise<Manifest> {
    return (await readManifest(this.#folderOf(tenant))) ?? emptyManifest(this.model, tenant);
  }

  /** The file of a version of a tenant's head. */
  fileOf(tenant: string, { file }: HeadVersion): string {
    return join(this.#folderOf(tenant), file);
  }

  /** The file of a tenant's head, the live one by default; undefined = there is none. Throws as {@link manifest}, NO_SUCH_VERSION. */
  async headPath(tenant: string, version?: number): Promise<string | undefined> {
    const found = await this.#version(tenant, version);
    return found && this.fileOf(tenant, found);
  }

  async #version(tenant: string, version: number | undefined): Promise<HeadVersion | undefined> {
    const manifest = await this.manifest(tenant);
    return version === undefined ? liveVersion(manifest) : requireVersion(manifest, version);
  }

  /** The file of a tenant's remembered text; undefined = there is none. */
  memoryPath(tenant: string): string | undefined {
    const path = join(this.#folderOf(tenant), memoryFile);
    return existsSync(path) ? path : undefined;
  }

  /** Makes a head a tenant's live version. Throws WRITE_FAILED, as {@link manifest}, and what writing the head throws. */
  promote(tenant: string, head: NewHead): Promise<HeadVersion> {
    return this.#change(tenant, async (manifest, folder) => {
      const parent = manifest.versions.find(({ version }) => version === (head.parent ?? manifest.live));
      const version: HeadVersion = {
        version: manifest.next,
        parent: parent?.version ?? 0,
        file: `head-${manifest.next}.safetensors`,
        origin: head.origin,
        weights: head.weights,
        promoted: new Date().toISOString(),
        tenants: [...new Set([...(parent?.tenants ?? []), ...head.tenants])].sort(),
        evidence: head.evidence,
      };
      await writing(folder, mkdir(folder, { recursive: true }));
      await head.write(join(folder, version.file));
      manifest.versions.push(version);
      manifest.live = version.version;
      manifest.next += 1;
      dropOldest(manifest);
      return version;
    });
  }

  /**
   * Leaves a tenant's live version for an earlier one.
   *
   * @param to A version, 0 = the static head; the live one's parent by default.
   * @param from Leaves everything as it is where another version than this one is live.
   * @throws ForetokenError NO_SUCH_VERSION
   */
  rollBack(tenant: string, to?: number, evidence: Evidence = {}, from?: number): Promise<Manifest> {
    return this.#change(tenant, (manifest) => {
      if (manifest.versions.length === 0)
        throw new ForetokenError('NO_SUCH_VERSION', `Tenant '${tenant}' has no version to leave.`);
      if (from !== undefined && manifest.live !== from) return manifest;
      const left = liveVersion(manifest);
      const target = to ?? existing(manifest, left?.parent ?? 0);
      if (target !== 0) delete requireVersion(manifest, target).rolledBack; // it may have been left before
      manifest.live = target;
      if (left && left.version > target) left.rolledBack = { at: new Date().toISOString(), evidence };
      return manifest;
    });
  }

  /** Names the file of a tenant's remembered text as it is now, unlike all that were or will be there; '' = there is none. */
  memoryStamp(tenant: string): Promise<string> {
    return stampOf(join(this.#folderOf(tenant), memoryFile));
  }

  /**
   * Keeps what a tenant remembers, beside what was kept before: in its place, where that is the file of this stamp, of which `memory` holds
   * all that still counts.
   *
   * @param isKept Whether some of it has been in such a file.
   * @returns The stamp of the file, undefined where it holds more than `memory`.
   * @throws ForetokenError MEMORY_INVALID where what was kept before can't be read, WRITE_FAILED; then it stays. FILE_NOT_FOUND where
   *   that file is gone: who has removed it wants none of what was in it back.
   */
  saveMemory(tenant: string, memory: Memory, basis = '', isKept = basis !== ''): Promise<string | undefined> {
    return this.#change(tenant, async (_, folder) => {
      const path = join(folder, memoryFile);
      const stamp = await stampOf(path);
      if (isKept && stamp === '') throw removedMeanwhile(path);
      const before = stamp === basis ? undefined : await this.#textsIn(path);
      await writeMemory(path, before ? joinMemories(before, memory) : memory, this.model);
      return before ? undefined : stampOf(path);
    });
  }

  /** A file that can be read and is no memory of this model holds no texts. */
  async #textsIn(path: string): Promise<Memory | undefined> {
    try {
      return await readMemory(path, this.model);
    } catch (error) {
      if ((error as Error).cause !== undefined) throw error;
      return undefined;
    }
  }

  /**
   * Copies a tenant's head, the live one by default; the copy names whose text it has learned from.
   *
   * @throws ForetokenError NO_SUCH_VERSION, FILE_UNREADABLE, HEAD_INVALID, WRITE_FAILED
   */
  async exportHead(tenant: string, to: string, version?: number): Promise<void> {
    const found = await this.#version(tenant, version);
    if (found === undefined)
      throw new ForetokenError('NO_SUCH_VERSION', `Tenant '${tenant}' has no head of its own to export.`);
    await copyWithTenants(this.fileOf(tenant, found), to, found.tenants);
  }

  /**
   * Drops all that is kept of a tenant, and every version of others that has learned from its text; undefined = of all. It does not
   * come back where the machine fails afterwards. A folder that can't be written will do where nothing is kept in it.
   *
   * @throws ForetokenError MANIFEST_INVALID, FILE_UNREADABLE where it can't be told what another one has learned from; the tenant's own is gone then.
   *   WRITE_FAILED where what is kept can't be removed.
   */
  async forget(tenant: string | undefined): Promise<void> {
    if (!existsSync(this.#folder)) return;
    let isLocked = false;
    const drop = async (): Promise<void> => {
      isLocked = true;
      const gone = tenant === undefined ? await this.#folders() : [this.#folderOf(tenant)];
      for (const folder of gone) await this.#remove(folder);
      await writing(this.#folder, syncFolder(this.#folder));
      if (tenant === undefined) return;
      const failures: unknown[] = [];
      for (const folder of await this.#folders())
        await dropVersionsOf(tenant, folder).catch((error: unknown) => failures.push(error));
      if (failures.length > 0) throw failures[0];
    };
    await this.#locked(drop).catch(async (error: unknown) => {
      const isReadOnly = error instanceof ForetokenError && error.code === 'WRITE_FAILED';
      if (!isReadOnly) throw error;
      if (!(await this.#holds(tenant))) {
        if (isLocked) throw error; // nothing that is found again, but it may be on disk
        return;
      }
      const what = tenant === undefined ? 'all tenants' : `tenant '${tenant}'`;
      const message = `What is kept of ${what} is still on disk, and will be found again: ${error.message}`;
      throw new ForetokenError('WRITE_FAILED', message, { cause: error });
    });
  }

  /** Whether anything is kept of a tenant or learned from it; undefined = of any. */
  async #holds(tenant: string | undefined): Promise<boolean> {
    const folders = await this.#folders();
    if (tenant === undefined || folders.includes(this.#folderOf(tenant))) return folders.length > 0;
    for (const folder of folders)
      if ((await readManifest(folder))?.versions.some(({ tenants }) => tenants.includes(tenant))) return true;
    return false;
  }

  /** Changes a tenant's manifest: what `change` did to it holds as soon as this ends, or not at all. */
  #change<T>(tenant: string, change: (manifest: Manifest, folder: string) => T | Promise<T>): Promise<T> {
    const folder = this.#folderOf(tenant);
    return this.#locked(async () => {
      const manifest = await this.manifest(tenant);
      const result = await change(manifest, folder);
      await writeManifest(folder, manifest);
      await writing(folder, removeStrangers(folder, manifest.versions));
      return result;
    });
  }

  /** In one step: half of what a tenant taught is not kept either. What a process that dies leaves is removed by the next lock. */
  async #remove(folder: string): Promise<void> {
    if (!existsSync(folder)) return;
    const remove = async (): Promise<void> => {
      const grave = await makeTemporaryFolder(this.#folder);
      await rename(folder, join(grave, 'gone'));
      await rm(grave, { recursive: true });
    };
    await writing(folder, remove());
  }

  async #folders(): Promise<string[]> {
    return (await subfolders(this.#folder)).map((name) => join(this.#folder, name));
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    return withLock(join(this.#folder, 'lock'), work);
  }

  /** Tenants' names may hold anything: their folders are named by a hash. */
  #folderOf(tenant: string): string {
    return join(this.#folder, createHash('sha256').update(tenant).digest('hex').slice(0, 32));
  }
}

function removedMeanwhile(path: string): ForetokenError {
  const why = 'was removed by another process, while what was in it is still remembered here, and is not written again';
  return new ForetokenError('FILE_NOT_FOUND', `${path} ${why}: forget the tenant here too, or start anew.`, {
    file: path,
  });
}

async function stampOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found ? `${found.ino} ${found.mtimeMs} ${found.size}` : '';
}

/** Models of whom something is kept, by the hash of their source. */
export async function storedModels(cache: string): Promise<string[]> {
  return (await subfolders(ownSpeculators(cache))).sort();
}

function requireVersion({ tenant, versions }: Manifest, version: number): HeadVersion {
  const found = versions.find((each) => each.version === version);
  if (found) return found;
  const known = versions.map((each) => each.version).join(', ') || 'none';
  throw new ForetokenError('NO_SUCH_VERSION', `Tenant '${tenant}' has no version ${version}; there are: ${known}.`);
}

/** A version, or what it came from, if that is still there: the oldest versions may be gone. */
function existing({ versions }: Manifest, version: number): number {
  return versions.some((each) => each.version === version) ? version : 0;
}

function dropOldest(manifest: Manifest): void {
  const { live } = manifest;
  const parent = liveVersion(manifest)?.parent;
  while (manifest.versions.length > keptVersions) {
    const oldest = manifest.versions.findIndex(({ version }) => version !== live && version !== parent);
    manifest.versions.splice(oldest, 1);
  }
}

/** Drops the versions in a folder that have learned from a tenant's text. */
async function dropVersionsOf(tenant: string, folder: string): Promise<void> {
  const manifest = await readManifest(folder);
  const versions = manifest?.versions.filter(({ tenants }) => !tenants.includes(tenant)) ?? [];
  if (!manifest || versions.length === manifest.versions.length) return;
  const live = versions.findLast(({ version }) => version <= manifest.live)?.version ?? 0;
  await writeManifest(folder, { ...manifest, versions, live });
  await writing(folder, removeStrangers(folder, versions));
  await writing(folder, syncFolder(folder));
}

/** Removes what a change that was cut off has left. */
async function removeStrangers(folder: string, versions: readonly HeadVersion[]): Promise<void> {
  const known = new Set([manifestPath(folder), ...[memoryFile, ...versions.map(({ file }) => file)].map(inFolder)]);
  function inFolder(name: string): string {
    return join(folder, name);
  }
  for (const path of (await readdir(folder)).map(inFolder)) if (!known.has(path)) await rm(path, { force: true });
}

async function subfolders(folder: string): Promise<string[]> {
  const entries = await there(folder, readdir(folder, { withFileTypes: true }), []);
  return entries.filter((entry) => entry.isDirectory() && /^[0-9a-f]{32}$/.test(entry.name)).map(({ name }) => name);
}

async function bytesIn(folder: string): Promise<number> {
  const paths = (await there(folder, readdir(folder), [])).map((name) => join(folder, name));
  const sizes = await Promise.all(paths.map((path) => there<{ size: number }>(path, stat(path), { size: 0 })));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}

/** What is read of a path, or `none` where nothing is there: engines come and go with their files. Throws FILE_UNREADABLE. */
async function there<T>(path: string, read: Promise<T>, none: T): Promise<T> {
  const found = read.catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return none;
    throw error;
  });
  return reading(path, found);
}

/** A copy that is on the disk when this ends, or what was there before. Throws WRITE_FAILED. */
export async function copyWhole(from: string, to: string): Promise<void> {
  await writing(to, replaceByCopy(from, to));
}
