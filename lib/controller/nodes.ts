/** What became of a drafted node, as the engine packs it: depth | outcome << 8 | shadow << 16 | age << 17 | drafter << 24. */
export interface DraftedNode {
  /** 1 = the first drafted token. */
  depth: number;
  outcome: NodeOutcome;
  /** Drafted but not verified: the outcome is what the emitted tokens say it would have been. */
  shadow: boolean;
  /** Tokens that had come since it was drafted, before the step that lists it: shadow nodes wait for the text that decides. */
  age: number;
  drafter: number;
}

export enum NodeOutcome {
  rejected = 0,
  accepted = 1,
  /** Verification ended before it. */
  unreached = 2,
}

/** Unpacks one entry of `draftOutcome`. */
export function unpackNode(packed: number): DraftedNode {
  return {
    depth: packed & 255,
    outcome: (packed >>> 8) & 255,
    shadow: ((packed >>> 16) & 1) === 1,
    age: (packed >>> 17) & 127,
    drafter: packed >>> 24,
  };
}

/** Packs one entry of `draftOutcome`; the inverse of {@link unpackNode}. */
export function packNode(node: DraftedNode): number {
  return node.depth | (node.outcome << 8) | (node.shadow ? 1 << 16 : 0) | (node.age << 17) | (node.drafter << 24);
}
