/** Why a generation ended: a stop token or string, the token limit, or because its consumer stopped reading. */
export type FinishReason = 'stop' | 'length' | 'cancelled';

/** Log-probability of one generated token under the model's own distribution (temperature 1, nothing filtered). */
export interface TokenLogprob {
  /** Its id. */
  token: number;
  /** Natural logarithm of its probability. */
  logprob: number;
  /** The most likely tokens at this position, best first; as many as `logprobs` asked for. */
  top: { token: number; logprob: number }[];
}

/** Tokens counted as they were computed. */
export interface Usage {
  /** Tokens of the prompt, the chat template's included. */
  promptTokens: number;
  /** Prompt tokens whose keys and values were still in the cache. */
  cachedPromptTokens: number;
  /** Generated tokens, the stop token included. */
  completionTokens: number;
  /** Of those, how many had been drafted. */
  acceptedDraftTokens: number;
  /** Drafted tokens that the model did not choose. */
  rejectedDraftTokens: number;
}

/** Seconds as JavaScript saw them. */
export interface Timings {
  /** From the call to the first token. */
  ttft: number;
  /** Seconds of the passes that read prompts before the first token. */
  prefillSeconds: number;
  /** From the first token to the last. */
  decodeSeconds: number;
  /** Tokens after the first arrival, by `decodeSeconds`; 0 where there were none. */
  tokensPerSecond: number;
}

/** Weights that drew tokens of an answer. */
export interface WeightsUsed {
  /** As {@link WeightUpdate} counts them: 0 = as loaded. */
  version: number;
  /** They drew the answer's tokens from this one on, counted from 0. */
  from: number;
}

/** How speculation went for one request. */
export interface SpeculationReport {
  /** Passes of the model after the first token. */
  rounds: number;
  /** Mean tokens per pass after the first token: 1 + accepted drafts. 1 = plain decoding. */
  acceptanceLength: number;
  /** Passes in which something was drafted. */
  draftedRounds: number;
  /** Tokens that were drafted and checked. */
  draftedTokens: number;
  /** Of those, the ones that became part of the answer. */
  acceptedTokens: number;
}

/** One pass of the model, as `explain: true` reports it. */
export interface RoundTrace {
  /** Who drafted: 'none', 'suffix', 'recall', 'blend' (of these two), 'prediction', 'head'. */
  drafter: string;
  /** Tokens that the plan expected to come out of the pass. */
  expected: number;
  /** Drafted tokens by depth (1 = first), the drafter's confidence and what became of them. */
  drafts: { depth: number; confidence: number; outcome: 'rejected' | 'accepted' | 'unreached' }[];
  /**
   * By drafter that proposed anything: how many of its tokens the model went on to say, whether they were verified or not. The text that
   * comes later decides some; where it ends before, they don't count.
   */
  foreseen: Record<string, number>;
  /** Tokens that came out of the pass. */
  tokens: number[];
  /** Seconds of the whole round, which may have served other requests too. */
  seconds: number;
}

/**
 * What drafters proposed along one text, at every position; `speculation.record` asks for it. It holds chances and what was right, never
 * a drafted token.
 *
 * A policy can be replayed on it: at a position it picks nodes of one draft, and goes on behind the ones that were right and the token
 * after them. That is exact for `suffix`, `recall` and `head`: what they propose at a position depends on the text up to there and on what
 * was remembered before the request, not on what was verified on the way. (A tenant that remembers more than its budget may keep other
 * passages for later requests; `prediction` finds its place again where it is asked, so that a replay of it is close but not exact.)
 */
export interface Recording {
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Tokens of the answer. */
  tokens: number;
  /** Per draft, in the text's order: tokens of the answer before it (at least 1), drafter id, nodes. */
  drafts: Int32Array;
  /**
   * Per node, draft by draft, parents first: 1 + its parent's place in the draft in bits 0..6 (0 = it comes first), bit 7: it and all
   * above it are what the model said.
   */
  nodes: Uint8Array;
  /** Per node, 0..1: the drafter's own confidence. */
  confidence: Float32Array;
}

/** What a finished generation gives. */
export interface GenerateResult {
  /** The generated text, without stop token or stop string. */
  text: string;
  /** Every generated token, with the stop token or the tokens of the stop string that ended it. */
  tokens: number[];
  /** Why it ended. */
  finishReason: FinishReason;
  /** Tokens read, generated and drafted. */
  usage: Usage;
  /** Seconds that it took. */
  timings: Timings;
  /** What drafting brought. */
  speculation: SpeculationReport;
  /**
   * The weights that drew the tokens: one entry, or more where `updateWeights` with `'restart'` came between; none without tokens. With
   * `logprobs`, what a learner needs to correct for tokens that an older policy drew.
   */
  weights: WeightsUsed[];
  /** One entry per token of `tokens`; there if the request asked for `logprobs`. */
  logprobs?: TokenLogprob[];
  /** Every pass; there if the request asked to `explain`. */
  rounds?: RoundTrace[];
  /** Every draft at every position; there if the request asked to `record`. */
  recording?: Recording;
}

/** What arrived since the consumer last asked. */
export interface Chunk {
  /** New text; may lag behind `tokens` while a character or a possible stop string is incomplete. */
  text: string;
  /** New tokens, by id. */
  tokens: number[];
  /** One entry per token; there if the request asked for `logprobs`. */
  logprobs?: TokenLogprob[];
}
