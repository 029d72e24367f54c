/** One sequence's share of a round. */
export interface Step {
  tokens: Int32Array;
  drafter: number;
  /** Of its drafted tokens, how many the plan expected to be accepted. */
  expected: number;
  draftConfidence: Float32Array;
  /** Packed nodes, see controller/nodes. */
  draftOutcome: Int32Array;
  /** Begins with 1 + 2 n numbers per token, if the request asked for them. */
  logprobs: Float32Array;
  /** Version of the weights that drew the tokens. */
  weights: number;
  /** Seconds of the round. */
  seconds: number;
}
