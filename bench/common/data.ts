import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ChatMessage } from '../../lib/index';

/** One prompt of one or more user turns. */
export interface Prompt {
  id: string;
  group: string;
  turns: string[];
}

/** Spec-Bench's own grouping: everything that came from MT-Bench is one group. */
const specGroups = new Set(['translation', 'summarization', 'qa', 'math_reasoning', 'rag']);

/** The Spec-Bench questions of a data folder, at most `limit` a group, in file order. */
export function specBench(folder: string, limit = Infinity): Prompt[] {
  const taken = new Map<string, number>();
  return jsonLines<{ question_id: number; category: string; turns: string[] }>(
    join(folder, 'spec_bench', 'question.jsonl'),
  )
    .map((question) => ({
      id: `spec/${question.question_id}`,
      group: specGroups.has(question.category) ? question.category : 'mt_bench',
      turns: question.turns,
    }))
    .filter((prompt) => {
      const count = (taken.get(prompt.group) ?? 0) + 1;
      taken.set(prompt.group, count);
      return count <= limit;
    });
}

/** Every n-th prompt of each group, from its first on. */
export function thinned(prompts: readonly Prompt[], n: number): Prompt[] {
  const seen = new Map<string, number>();
  return prompts.filter(({ group }) => {
    const before = seen.get(group) ?? 0;
    seen.set(group, before + 1);
    return before % n === 0;
  });
}

/** A request of a stream; `phase`: kinds of text follow one another, from 0 on. */
export interface StreamRequest {
  id: string;
  phase: number;
  messages: ChatMessage[];
}

/** A request stream: one a line, in its fixed order. */
export function stream(folder: string, name: string, limit = Infinity): StreamRequest[] {
  return jsonLines<StreamRequest>(join(folder, 'streams', `${name}.jsonl`)).slice(0, limit);
}

/** The domains of the drift corpora. */
export const domains = ['python', 'rust', 'c', 'typescript', 'sql', 'prose', 'tool_calls'] as const;

export function corpus(folder: string, domain: string): string {
  return readFileSync(join(folder, 'drift', `${domain}.txt`), 'utf8');
}

/** Fails with a sentence that says what the folder must hold. */
export function requireData(folder: string | undefined, suite: string): string {
  if (folder === undefined || !existsSync(folder))
    throw new Error(
      `bench ${suite} needs --data DIR: a folder with spec_bench/question.jsonl, streams/*.jsonl and drift/*.txt` +
        (folder === undefined ? '' : ` (${folder} does not exist)`),
    );
  return folder;
}

function jsonLines<T>(file: string): T[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as T);
}
