import { performance } from 'node:perf_hooks';
import type { RowOwner } from '../controller/controller';
import { NodeOutcome, unpackNode } from '../controller/nodes';
import { atCallSite } from './call-site';
import type { CallSite } from './call-site';
import { RecordingBuilder } from './recording';
import type { RecordedDraft } from './recording';
import type { Chunk, FinishReason, GenerateResult, TokenLogprob, Usage, WeightsUsed } from './result';
import type { Step } from './step';
import { StopMatcher } from './stop';
import { Traces } from './traces';

/** Turns tokens into text piece by piece: incomplete characters wait for their remaining bytes. */
export interface TextSource {
  push(token: number): string;
  end(): string;
}

/** What a generation needs to know of its request. */
export interface GenerationRequest {
  promptTokens: number;
  stopTokens: ReadonlySet<number>;
  stop: readonly string[];
  /** Alternatives per token; -1 = no logprobs. */
  logprobs: number;
  explain: boolean;
  /** Whether the drafts of every position are kept. */
  record: boolean;
  /** Undefined where nothing may be learned from how it is drafted for. */
  owner: RowOwner | undefined;
}

/** What a generation tells the engine. */
export interface GenerationControl {
  /** The consumer has taken `count` tokens in all. */
  consumed(count: number): void;
  /** Nobody waits for tokens one by one: all that comes counts as consumed. */
  unread(): void;
  /** The sequence ends here with its first `keep` tokens. */
  finish(keep: number): void;
}

interface Waiter {
  resolve(chunk: Chunk | undefined): void;
  reject(error: unknown): void;
}

/**
 * One request while it runs: takes the engine's steps as they arrive and hands text to one consumer as fast as that
 * one asks. Tokens count as consumed when the consumer takes them, so a slow consumer slows its own sequence and
 * nothing else.
 */
export class Generation {
  /** Settles when the generation has ended; rejects if it failed or was aborted. */
  readonly result: Promise<GenerateResult>;
  /** What it has used, once the engine has let go of it, whichever way it ended. */
  readonly used: Promise<Usage>;

  readonly #request: GenerationRequest;
  #owner: RowOwner | undefined;
  readonly #text: TextSource;
  readonly #control: GenerationControl;
  readonly #stops: StopMatcher;
  readonly #site: CallSite;
  #settle!: { resolve(result: GenerateResult): void; reject(error: unknown): void };

  #account!: (used: Usage) => void;

  #whole = '';
  readonly #tokens: number[] = [];
  readonly #logprobs: TokenLogprob[] = [];
  readonly #weights: WeightsUsed[] = [];
  readonly #traces: Traces | undefined;
  readonly #recording: RecordingBuilder | undefined;
  /** Text and tokens before these have been taken. */
  #takenText = 0;
  #takenTokens = 0;
  #draining = false;
  #reason: FinishReason | undefined;
  #error: Error | undefined;
  #ended = false;
  #waiter: Waiter | undefined;

  readonly #began: number;
  #firstAt = 0;
  #lastAt = 0;
  #firstCount = 0;
  #prefillSeconds = 0;
  #decodeRounds = 0;
  #draftedRounds = 0;
  #drafted = 0;
  #accepted = 0;
  #rejected = 0;

  /** @param site Holds the stack of the user's call, for errors that come later, and its time. */
  constructor(request: GenerationRequest, text: TextSource, control: GenerationControl, site: CallSite) {
    this.#request = request;
    this.#owner = request.owner;
    this.#text = text;
    this.#control = control;
    this.#stops = new StopMatcher(request.stop);
    if (request.explain) this.#traces = new Traces();
    if (request.record) this.#recording = new RecordingBuilder(request.promptTokens);
    this.#site = site;
    this.#began = site.began ?? performance.now();
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.used = new Promise((resolve) => {
      this.#account = resolve;
    });
    // Whoever reads the chunks sees the error there; `result` alone must not end the process.
    this.result.catch(() => undefined);
  }

  /** Whose it is; undefined where nothing may be learned from it any more. */
  get owner(): RowOwner | undefined {
    return this.#owner;
  }

  /** Nothing is learned from it any more. */
  disown(): void {
    this.#owner = undefined;
  }

  /** Whether the generation still takes steps. A stop string ends it before the engine says that it has. */
  get running(): boolean {
    return this.#reason === undefined && !this.#ended;
  }

  /** Seconds of a pass that read prompts; counted for whoever waits for the first token. */
  addPrefill(seconds: number): void {
    if (this.#tokens.length === 0) this.#prefillSeconds += seconds;
  }

  /** Takes one step. What lies behind a stop string is dropped. */
  accept(step: Step): void {
    if (!this.running || step.tokens.length === 0) return;
    const before = this.#tokens.length;
    if (step.weights !== this.#weights.at(-1)?.version) this.#weights.push({ version: step.weights, from: before });
    for (let i = 0; i < step.tokens.length && this.#reason === undefined; ++i) this.#acceptToken(step, i);
    this.#count(step, before);
    if (this.#reason !== undefined) this.#control.finish(this.#tokens.length);
  }

  /** Takes a draft of a request that records. */
  record(draft: RecordedDraft): void {
    this.#recording?.add(draft);
  }

  /** Wakes the consumer; called once per crossing, after its steps were accepted. */
  wake(): void {
    if (this.#draining && !this.#unread) this.#acknowledge();
    if (!this.#waiter || !this.#pending()) return;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter.resolve(this.#take());
  }

  /** The engine has ended the sequence. */
  end(reason: FinishReason, cachedPromptTokens: number): void {
    this.#account(this.#usage(cachedPromptTokens));
    if (this.#ended) return;
    this.#ended = true;
    if (this.#reason === undefined) this.#endAs(reason);
    this.#settle.resolve(this.#makeResult(cachedPromptTokens));
    this.#finishWaiter();
  }

  /** The engine has ended the sequence with an error. */
  fail(error: Error): void {
    this.#account(this.#usage(0));
    this.abort(error);
  }

  /** Its signal was aborted, or the engine can't hear it: whoever waits for it sees the error, and the engine will end the sequence. */
  abort(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = atCallSite(error, this.#site);
    if (this.#reason === undefined) this.#control.finish(this.#tokens.length);
    this.#settle.reject(this.#error);
    this.#finishWaiter();
  }

  /** The consumer wants no more: the engine drops the sequence, `result` has what came so far. */
  cancel(): void {
    if (this.running) this.#endAs('cancelled');
  }

  /** From now on nobody holds the sequence back: every token counts as consumed when it arrives. */
  drain(): void {
    this.#draining = true;
    if (!this.#unread) this.#acknowledge();
    else if (this.running) this.#control.unread();
  }

  /** The next chunk, as soon as there is one; undefined at the end. One call at a time. */
  next(): Promise<Chunk | undefined> {
    if (this.#pending()) return Promise.resolve(this.#take());
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  /** Whether the engine may run to the end as fast as it can. What follows a stop string would be decoded in vain. */
  get #unread(): boolean {
    return this.#draining && this.#request.stop.length === 0;
  }

  #acceptToken(step: Step, index: number): void {
    const token = step.tokens[index];
    this.#tokens.push(token);
    if (this.#request.logprobs >= 0) this.#logprobs.push(this.#readLogprob(step, index));
    if (this.#request.stopTokens.has(token)) {
      this.#endText();
      this.#reason = 'stop';
      return;
    }
    this.#whole += this.#stops.push(this.#text.push(token));
    if (this.#stops.matched !== undefined) this.#reason = 'stop';
  }

  #endAs(reason: FinishReason): void {
    this.#endText();
    this.#reason = this.#stops.matched === undefined ? reason : 'stop';
    this.#control.finish(this.#tokens.length);
  }

  /** Nothing follows: what waited for more bytes or for the rest of a stop string is text. */
  #endText(): void {
    this.#whole += this.#stops.push(this.#text.end());
    this.#whole += this.#stops.flush();
  }

  #readLogprob(step: Step, index: number): TokenLogprob {
    const alternatives = this.#request.logprobs;
    const base = index * (1 + 2 * alternatives);
    const top = [];
    for (let i = 0; i < alternatives; ++i) {
      top.push({ token: step.logprobs[base + 1 + 2 * i], logprob: step.logprobs[base + 2 + 2 * i] });
    }
    return { token: step.tokens[index], logprob: step.logprobs[base], top };
  }

  #count(step: Step, before: number): void {
    this.#lastAt = performance.now();
    const kept = this.#tokens.length - before;
    if (before === 0) {
      this.#firstAt = this.#lastAt;
      this.#firstCount = kept;
    } else {
      this.#decodeRounds += 1;
    }
    let drafted = 0;
    let accepted = 0;
    for (const packed of step.draftOutcome) {
      const { shadow, outcome } = unpackNode(packed);
      if (shadow) continue;
      drafted += 1;
      if (outcome === NodeOutcome.accepted) accepted += 1;
      if (outcome === NodeOutcome.rejected) this.#rejected += 1;
    }
    if (drafted > 0) this.#draftedRounds += 1;
    this.#drafted += drafted;
    this.#accepted += Math.min(accepted, kept);
    this.#traces?.add(step, before, kept);
  }

  #pending(): boolean {
    return this.#takenTokens < this.#tokens.length || this.#takenText < this.#whole.length;
  }

  #take(): Chunk {
    const chunk: Chunk = {
      text: this.#whole.slice(this.#takenText),
      tokens: this.#tokens.slice(this.#takenTokens),
    };
    if (this.#request.logprobs >= 0) chunk.logprobs = this.#logprobs.slice(this.#takenTokens);
    this.#takenText = this.#whole.length;
    this.#takenTokens = this.#tokens.length;
    if (!this.#draining) this.#acknowledge();
    return chunk;
  }

  #acknowledge(): void {
    if (this.running) this.#control.consumed(this.#tokens.length);
  }

  #finishWaiter(): void {
    const waiter = this.#waiter;
    if (!waiter) return;
    this.#waiter = undefined;
    if (this.#pending()) waiter.resolve(this.#take());
    else if (this.#error !== undefined) waiter.reject(this.#error);
    else waiter.resolve(undefined);
  }

  #usage(cachedPromptTokens: number): Usage {
    return {
      promptTokens: this.#request.promptTokens,
      cachedPromptTokens,
      completionTokens: this.#tokens.length,
      acceptedDraftTokens: this.#accepted,
      rejectedDraftTokens: this.#rejected,
    };
  }

  #makeResult(cachedPromptTokens: number): GenerateResult {
    const count = this.#tokens.length;
    const decodeSeconds = (this.#lastAt - this.#firstAt) / 1000;
    const result: GenerateResult = {
      text: this.#whole,
      tokens: this.#tokens.slice(),
      finishReason: this.#reason!,
      usage: this.#usage(cachedPromptTokens),
      timings: {
        ttft: count > 0 ? (this.#firstAt - this.#began) / 1000 : 0,
        prefillSeconds: this.#prefillSeconds,
        decodeSeconds,
        tokensPerSecond: decodeSeconds > 0 ? (count - this.#firstCount) / decodeSeconds : 0,
      },
      weights: this.#weights.slice(),
      speculation: {
        rounds: this.#decodeRounds,
        acceptanceLength: this.#decodeRounds > 0 ? (count - this.#firstCount) / this.#decodeRounds : 1,
        draftedRounds: this.#draftedRounds,
        draftedTokens: this.#drafted,
        acceptedTokens: this.#accepted,
      },
    };
    if (this.#request.logprobs >= 0) result.logprobs = this.#logprobs.slice();
    if (this.#traces) result.rounds = this.#traces.rounds;
    if (this.#recording) result.recording = this.#recording.build(count);
    return result;
  }
}
