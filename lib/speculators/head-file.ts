import { readFile } from 'node:fs/promises';
import { ForetokenError, reading, writing } from '../error';
import { replaceInFolder } from '../replace-file';

/** The header of a safetensors file: what is said of the whole, and of each tensor. */
interface Header {
  __metadata__?: { tenants?: string };
}

/**
 * Copies a draft head, naming in the copy whose text it has learned from: whoever imports it knows with whom it has to go.
 *
 * @throws ForetokenError FILE_UNREADABLE, HEAD_INVALID, WRITE_FAILED; what was there before stays then
 */
export async function copyWithTenants(from: string, to: string, tenants: readonly string[]): Promise<void> {
  const { header, data } = await readHead(from);
  const named = { ...header, __metadata__: { ...header.__metadata__, tenants: JSON.stringify(tenants) } };
  const text = Buffer.from(JSON.stringify(named));
  const padding = Buffer.alloc(-text.length & 7, ' '); // tensors begin at a multiple of 8
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length + padding.length));
  await writing(to, replaceInFolder(to, [length, text, padding, data]));
}

/**
 * The tenants that {@link copyWithTenants} named in a head's file; none where it was made in another way.
 *
 * @throws ForetokenError FILE_UNREADABLE, HEAD_INVALID
 */
export async function tenantsOf(path: string): Promise<string[]> {
  const { tenants = '[]' } = (await readHead(path)).header.__metadata__ ?? {};
  const named = parsed(path, tenants);
  if (Array.isArray(named) && named.every((tenant) => typeof tenant === 'string')) return named;
  throw invalid(path, "'tenants' are no list of names");
}

async function readHead(path: string): Promise<{ header: Header; data: Uint8Array }> {
  const bytes = await reading(path, readFile(path));
  if (bytes.length < 8) throw invalid(path, 'it has no header');
  const end = 8 + Number(bytes.readBigUInt64LE());
  const header = parsed(path, bytes.toString('utf8', 8, end));
  if (typeof header === 'object' && header !== null) return { header, data: bytes.subarray(end) };
  throw invalid(path, 'its header is no JSON object');
}

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid(path, 'its header is no JSON');
  }
}

function invalid(path: string, why: string): ForetokenError {
  return new ForetokenError('HEAD_INVALID', `${path} is not a usable draft head: ${why}.`, { file: path });
}
