/** One sequence's share of a round: a row of the table `steps` of a crossing, see NativeOutcomes. */
export interface StepRecord {
  round: number;
  sequence: number;
  tokenOffset: number;
  tokenCount: number;
  draftOffset: number;
  draftCount: number;
  drafter: number;
  /** 1 + the index of the others' promise where the head was asked; 0 = it was not. */
  asked: number;
  /** How many of the verified nodes the plan expected to be accepted. */
  expected: number;
  /** Version of the weights that drew the tokens. */
  weights: number;
  /** Where the logprobs of its tokens begin, if the request asked for them. */
  logprobOffset: number;
}

/** The row that begins at `at`: by index, for a view and its iterator cost more than all that is done with the row. */
export function readStep(steps: Int32Array, at: number): StepRecord {
  return {
    round: steps[at],
    sequence: steps[at + 1],
    tokenOffset: steps[at + 2],
    tokenCount: steps[at + 3],
    draftOffset: steps[at + 4],
    draftCount: steps[at + 5],
    drafter: steps[at + 7],
    asked: steps[at + 8],
    expected: steps[at + 9] * 1e-6,
    weights: steps[at + 10],
    logprobOffset: steps[at + 11],
  };
}
