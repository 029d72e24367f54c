import { appendFileSync, readFileSync } from 'node:fs';
import type { Recording } from '../../lib/index';
import { Drafter, type NativeReplayText } from '../../lib/native';
import { textOf } from './text';

/** A recording as a line of a file: plain arrays, and what kind of text it is. */
type RecordedLine = { name?: string } & { [Key in keyof Recording]: Recording[Key] extends number ? number : number[] };

/** Adds a recorded answer to a file of one JSON object a line. */
export function appendRecording(file: string, name: string, recording: Recording): void {
  const { promptTokens, tokens, drafts, nodes, confidence } = recording;
  const arrays = { drafts: Array.from(drafts), nodes: Array.from(nodes), confidence: Array.from(confidence) };
  const line: RecordedLine = { name, promptTokens, tokens, ...arrays };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}

/** The recorded answers of a file, by name, in its order; without what the head drafted, which takes no part in a replay. */
export function readRecordings(file: string): Record<string, NativeReplayText[]> {
  const texts: Record<string, NativeReplayText[]> = {};
  for (const [at, line] of readFileSync(file, 'utf8').trim().split('\n').entries()) {
    try {
      const recorded = JSON.parse(line) as RecordedLine;
      (texts[recorded.name ?? 'recording'] ??= []).push(textOf(withoutHead(recorded)));
    } catch (cause) {
      throw new Error(`${file}, line ${at + 1}, is no recorded answer: see docs/bench.md`, { cause });
    }
  }
  return texts;
}

function withoutHead({ promptTokens, tokens, drafts, nodes, confidence }: RecordedLine): Recording {
  const kept = { drafts: [] as number[], nodes: [] as number[], confidence: [] as number[] };
  for (let d = 0, from = 0; d < drafts.length; d += 3) {
    const to = from + drafts[d + 2];
    if (drafts[d + 1] !== (Drafter.head as number)) {
      kept.drafts.push(...drafts.slice(d, d + 3));
      kept.nodes.push(...nodes.slice(from, to));
      kept.confidence.push(...confidence.slice(from, to));
    }
    from = to;
  }
  return {
    ...{ promptTokens, tokens, drafts: Int32Array.from(kept.drafts) },
    ...{ nodes: Uint8Array.from(kept.nodes), confidence: Float32Array.from(kept.confidence) },
  };
}
