import { readFile, readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { ForetokenError, reading } from '../error';
import type { HeadText } from './train-head';

/** Fields of a JSON record that may hold its prompt, in this order. */
const fields = ['prompt', 'question', 'instruction', 'problem', 'text', 'input'] as const;

/**
 * Prompts of files and folders: `.jsonl` has a record a line, whose prompt is `turns[0]` or the first of `prompt`, `question`,
 * `instruction`, `problem`, `text`, `input` that is a string; `.txt` and `.md` are one prompt a paragraph. Other files of a folder are
 * passed over.
 *
 * @returns Each prompt once, in the order of the files.
 * @throws ForetokenError PROMPTS_INVALID, FILE_UNREADABLE
 */
export async function readPrompts(paths: readonly string[]): Promise<string[]> {
  const prompts = new Set<string>();
  for (const path of await listFiles(paths)) {
    const text = await reading(path, readFile(path, 'utf8'));
    const found = extname(path) === '.jsonl' ? recordsOf(path, text).flatMap(promptOf) : text.split(/\n\s*\n/);
    for (const prompt of found) if (prompt.trim() !== '') prompts.add(prompt.trim());
  }
  if (prompts.size === 0) throw new ForetokenError('PROMPTS_INVALID', `There is no prompt in ${paths.join(', ')}.`);
  return [...prompts];
}

/**
 * Texts of the same files and folders: of `.jsonl` each record's prompt, or its tokens where `prompt` and `answer` are lists of them;
 * `.txt` and `.md` are one text.
 *
 * @throws ForetokenError PROMPTS_INVALID, FILE_UNREADABLE
 */
export async function readTexts(paths: readonly string[]): Promise<HeadText[]> {
  const texts: HeadText[] = [];
  for (const path of await listFiles(paths)) {
    const text = await reading(path, readFile(path, 'utf8'));
    if (extname(path) !== '.jsonl') texts.push(text);
    else texts.push(...recordsOf(path, text).flatMap((record): HeadText[] => tokensOf(record) ?? promptOf(record)));
  }
  return texts;
}

/** A record of tokens: a prompt, and the answer that came. */
function tokensOf({ prompt, answer }: Record<string, unknown>): HeadText[] | undefined {
  const isTokens = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isInteger);
  return isTokens(prompt) && isTokens(answer) ? [{ tokens: [...prompt, ...answer], answer: prompt.length }] : undefined;
}

async function listFiles(paths: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    const found = await stat(path).catch(() => {
      throw new ForetokenError('PROMPTS_INVALID', `${path} does not exist.`);
    });
    if (!found.isDirectory()) files.push(path);
    else
      files.push(
        ...(await listFiles((await reading(path, readdir(path))).sort().map((name) => join(path, name)))).filter(
          isPrompts,
        ),
      );
  }
  return files;
}

function isPrompts(path: string): boolean {
  return ['.jsonl', '.txt', '.md'].includes(extname(path));
}

function recordsOf(path: string, text: string): Record<string, unknown>[] {
  const lines = Array.from(text.split('\n'), (line, i) => ({ line, number: i + 1 }));
  return lines
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, number }) => recordOf(line, `${path}, line ${number}`));
}

function recordOf(line: string, where: string): Record<string, unknown> {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    throw new ForetokenError('PROMPTS_INVALID', `${where} is no JSON.`);
  }
  if (typeof record === 'object' && record !== null && !Array.isArray(record)) return record as Record<string, unknown>;
  throw new ForetokenError('PROMPTS_INVALID', `${where} is no JSON object.`);
}

/** None or one. */
function promptOf(record: Record<string, unknown>): string[] {
  const turns = record['turns'];
  const values: unknown[] = [Array.isArray(turns) ? turns[0] : undefined, ...fields.map((field) => record[field])];
  return values.filter((value) => typeof value === 'string').slice(0, 1);
}
