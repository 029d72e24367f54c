import { packNode } from '../../lib/controller/nodes';
import type { SequenceEngine } from '../../lib/decode/loop';
import { roundFields, stepFields } from '../../lib/native';
import type { NativeOutcomes, NativeRequest } from '../../lib/native';

/** One sequence's share of a crossing, as a script says it. */
export interface ScriptStep {
  sequence: number;
  round?: number;
  tokens: number[];
  drafter?: number;
  /** [depth, confidence, outcome] of each drafted token, and the chance that the plan gave it. */
  drafts?: [number, number, number, number?][];
  /** 1 + the index of what the others promised, where the head was asked. */
  asked?: number;
  /** Of the drafted tokens to be accepted, by the plan. */
  expected?: number;
  logprobs?: number[];
  /** Version of the weights. */
  weights?: number;
}

/** Packs rounds and steps as the engine thread sends them. */
export function outcomes(
  steps: ScriptStep[],
  rest: { rounds?: number[][]; finished?: number[]; asks?: number[]; errors?: NativeOutcomes['errors'] } = {},
): NativeOutcomes {
  const tokens: number[] = [];
  const confidence: number[] = [];
  const chances: number[] = [];
  const outcome: number[] = [];
  const logprobs: number[] = [];
  const table = new Int32Array(steps.length * stepFields);
  steps.forEach((step, i) => {
    const drafts = step.drafts ?? [];
    const accepted = drafts.filter((draft) => draft[2] === 1).length;
    const row = [step.round ?? 0, step.sequence, tokens.length, step.tokens.length, outcome.length, drafts.length];
    const more = [accepted, step.drafter ?? 0, step.asked ?? 0];
    const last = [1e6 * (step.expected ?? 0), step.weights ?? 0, logprobs.length];
    table.set([...row, ...more, ...last], i * stepFields);
    tokens.push(...step.tokens);
    logprobs.push(...(step.logprobs ?? []));
    for (const [depth, sure, became, chance] of drafts) {
      confidence.push(sure);
      chances.push(chance ?? 0);
      outcome.push(packNode({ depth, outcome: became, shadow: false, age: 0, drafter: step.drafter ?? 0 }));
    }
  });
  const whole = (round: number[]): number[] => Array.from({ length: roundFields }, (_, i) => round[i] ?? 0);
  return {
    rounds: Float64Array.from((rest.rounds ?? []).flatMap(whole)),
    steps: table,
    tokens: Int32Array.from(tokens),
    draftConfidence: Float32Array.from(confidence),
    draftChance: Float32Array.from(chances),
    draftOutcome: Int32Array.from(outcome),
    logprobs: Float32Array.from(logprobs),
    finished: Int32Array.from(rest.finished ?? []),
    asks: Int32Array.from(rest.asks ?? []),
    errors: rest.errors ?? [],
  };
}

/** Stands where the native engine stands and remembers what it was told. */
export class ScriptedEngine implements SequenceEngine {
  readonly requests: NativeRequest[] = [];
  readonly told: string[] = [];
  /** There is no memory to hear what these sequences tell. */
  readonly deafTo = new Set<number>();

  submit(request: NativeRequest): number {
    return this.requests.push(request);
  }

  consumed(sequence: number, count: number): void {
    this.#hear(sequence, `consumed ${sequence} ${count}`);
  }

  unread(sequence: number): void {
    this.#hear(sequence, `unread ${sequence}`);
  }

  finish(sequence: number, keep: number): void {
    this.#hear(sequence, `finish ${sequence} ${keep}`);
  }

  #hear(sequence: number, line: string): void {
    if (this.deafTo.has(sequence)) throw Object.assign(new Error('no memory left'), { code: 'OUT_OF_MEMORY' });
    this.told.push(line);
  }
}

/** Text of a token: its character, so that token 97 reads 'a'. */
export class CharacterText {
  push(token: number): string {
    return String.fromCharCode(token);
  }

  end(): string {
    return '';
  }
}
