import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { middlingContext, type Profile } from '../controller/cost';
import { Drafter, drafterCount } from '../native';
import type { NativeEngine, NativeModelInfo } from '../native';
import { replaceFile } from '../replace-file';

/** Widest pass that is measured; the controller continues the curve beyond. */
const rows = 64;
const repeats = 3;
/** Rows of the two short measurements that tell the price of context. */
const contextRows = 4;
/** Rows of the look at load that tells whether kept prices were measured on a busy machine. */
const checkedRows = 8;
const fasterBy = 0.85;
/** Part of the file's name: another way of measuring must not read old files. */
const version = 4;

/**
 * What passes of this model cost on this machine: from the cache folder if they were measured before, else measured now
 * (about a third of a second for the default model) and kept. Whatever else ran at the time can only have made passes
 * look dearer: where a few passes now are faster than remembered, everything is measured anew.
 *
 * @param folder Where prices are kept.
 */
export async function loadProfile(native: NativeEngine, folder: string): Promise<Profile> {
  const info = native.info();
  const { headBytes } = native.stats();
  const path = join(folder, 'profiles', `${keyOf(info, headBytes)}.json`);
  const known = await readProfile(path);
  if (known && !(await isFasterThan(native, known))) return known;
  const profile = await measure(native, info.contextLength);
  await writeProfile(path, profile);
  return profile;
}

async function measure(native: NativeEngine, contextLength: number): Promise<Profile> {
  const short = Math.min(128, contextLength >> 2);
  const near = Math.min(rows, Math.max(1, contextLength >> 1));
  const wide = Math.min(contextRows, near);
  const long = Math.min(1024, contextLength - wide);
  const { passSeconds, draftSeconds, headPositionSeconds } = await native.profile(near, short, repeats);
  const far = await native.profile(wide, long, repeats);
  const added = (width: number): number => {
    return (far.passSeconds[width - 1] - passSeconds[width - 1]) / (width * Math.max(1, long - short));
  };
  // The head attends to the context as the target does, so its draft is priced where one is of middling length.
  const perToken = Math.max(0, far.draftSeconds[Drafter.head] - draftSeconds[Drafter.head]) / Math.max(1, long - short);
  draftSeconds[Drafter.head] += perToken * Math.max(0, Math.min(middlingContext, long) - short);
  return {
    passSeconds: Array.from(passSeconds),
    context: short,
    secondsPerContextToken: Math.max(0, (added(1) + added(wide)) / 2),
    draftSeconds: Array.from(draftSeconds),
    headPositionSeconds,
  };
}

async function isFasterThan(native: NativeEngine, known: Profile): Promise<boolean> {
  const { passSeconds } = await native.profile(Math.min(checkedRows, known.passSeconds.length), known.context, 1);
  return passSeconds.some((seconds, i) => seconds < fasterBy * known.passSeconds[i]);
}

/** Everything that changes what a pass costs. */
function keyOf(info: NativeModelInfo, headBytes: number): string {
  const machine = cpus();
  const facts = [
    version,
    info.sourceHash,
    info.weightsDescription,
    info.isa,
    info.kvFormat,
    info.threads,
    info.contextLength,
    headBytes,
    machine[0]?.model,
    machine.length,
  ];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
}

/** A profile that was kept, if it is there and whole. */
async function readProfile(path: string): Promise<Profile | undefined> {
  try {
    const profile = JSON.parse(await readFile(path, 'utf8')) as Profile | null;
    return isProfile(profile) ? profile : undefined;
  } catch {
    return undefined;
  }
}

function isProfile(profile: Profile | null): profile is Profile {
  const { passSeconds, context, secondsPerContextToken, draftSeconds, headPositionSeconds } =
    profile ?? ({} as Partial<Profile>);
  const nonNegative = (value: unknown): boolean => typeof value === 'number' && value >= 0 && Number.isFinite(value);
  return (
    Array.isArray(passSeconds) &&
    passSeconds.length > 0 &&
    passSeconds.every((seconds) => nonNegative(seconds) && seconds > 0) &&
    nonNegative(context) &&
    nonNegative(secondsPerContextToken) &&
    nonNegative(headPositionSeconds) &&
    Array.isArray(draftSeconds) &&
    draftSeconds.length === drafterCount &&
    draftSeconds.every(nonNegative)
  );
}

/** Keeps a profile: whole or not at all. A folder that can't be written costs a measurement at the next start. */
async function writeProfile(path: string, profile: Profile): Promise<void> {
  await replaceFile(path, [JSON.stringify(profile)]).catch(() => undefined);
}
