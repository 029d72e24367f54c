import { packNode, unpackNode, type DraftedNode } from '../../lib/controller/nodes';
import type { NativeOutcomes } from '../../lib/native';

/** A drafted token that nobody verified, until the text says what would have become of it. */
interface Open {
  /** Tokens of the answer when it was drafted. */
  start: number;
  node: DraftedNode;
  confidence: number;
}

/**
 * What the engine does not know yet: a replay says at once of every drafted token whether it is right, but of those that were not verified
 * only the text that comes later tells. A policy that heard of them before would know what lies ahead.
 */
export class OpenLabels {
  #open: Open[] = [];

  /** Holds back what a round's tokens, from `start` to `end` of the answer, don't decide, and adds what was held back and they do. */
  settle(outcomes: NativeOutcomes, start: number, end: number): void {
    const drafted = Array.from(outcomes.draftOutcome, (packed, i): Open => {
      return { start, node: unpackNode(packed), confidence: outcomes.draftConfidence[i] };
    });
    const isDecided = (label: Open): boolean => !label.node.shadow || label.start + label.node.depth <= end;
    const told = [...drafted, ...this.#open].filter(isDecided);
    this.#open = [...this.#open, ...drafted].filter((label) => !isDecided(label));
    outcomes.draftOutcome = Int32Array.from(told, (label) => packNode({ ...label.node, age: start - label.start }));
    outcomes.draftConfidence = Float32Array.from(told, ({ confidence }) => confidence);
    outcomes.steps[5] = told.length; // of the round's only step
  }
}
