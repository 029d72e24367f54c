import type { Recording } from './result';

/** One draft of a sequence that records. */
export interface RecordedDraft {
  /** Length of the text, prompt included, when it was drafted. */
  start: number;
  drafter: number;
  /** As in {@link Recording}. */
  nodes: Uint8Array;
  confidence: Float32Array;
}

/** Puts a recording together from drafts as they come. */
export class RecordingBuilder {
  readonly #promptTokens: number;
  readonly #drafts: RecordedDraft[] = [];

  constructor(promptTokens: number) {
    this.#promptTokens = promptTokens;
  }

  add(draft: RecordedDraft): void {
    this.#drafts.push(draft);
  }

  /** @param tokens The answer's, so many; what was drafted behind them is left out. */
  build(tokens: number): Recording {
    const kept = this.#drafts.filter(({ start }) => start - this.#promptTokens < tokens);
    const count = kept.reduce((sum, { nodes }) => sum + nodes.length, 0);
    const result: Recording = {
      promptTokens: this.#promptTokens,
      tokens,
      drafts: Int32Array.from(
        kept.flatMap(({ start, drafter, nodes }) => [start - this.#promptTokens, drafter, nodes.length]),
      ),
      nodes: new Uint8Array(count),
      confidence: new Float32Array(count),
    };
    let at = 0;
    for (const { nodes, confidence } of kept) {
      result.nodes.set(nodes, at);
      result.confidence.set(confidence, at);
      at += nodes.length;
    }
    return result;
  }
}
