import { NodeOutcome, unpackNode } from '../controller/nodes';
import { Drafter } from '../native';
import type { Step } from './step';
import type { RoundTrace } from './result';

const outcomeNames = {
  [NodeOutcome.rejected]: 'rejected',
  [NodeOutcome.accepted]: 'accepted',
  [NodeOutcome.unreached]: 'unreached',
} as const;

/** The passes of one request, as `explain: true` reports them. */
export class Traces {
  readonly rounds: RoundTrace[] = [];
  /** By tokens that had come before it. */
  readonly #byStart = new Map<number, RoundTrace>();

  /**
   * Takes a step.
   *
   * @param before Tokens that had come before it.
   * @param kept Tokens of it that count.
   */
  add(step: Step, before: number, kept: number): void {
    const trace: RoundTrace = {
      drafter: Drafter[step.drafter],
      expected: 1 + step.expected,
      drafts: [],
      foreseen: {},
      tokens: Array.from(step.tokens.subarray(0, kept)),
      seconds: step.seconds,
    };
    this.rounds.push(trace);
    this.#byStart.set(before, trace);
    step.draftOutcome.forEach((packed, i) => {
      const { depth, outcome, shadow, age, drafter } = unpackNode(packed);
      if (!shadow) trace.drafts.push({ depth, confidence: step.draftConfidence[i], outcome: outcomeNames[outcome] });
      const drafted = this.#byStart.get(before - age);
      if (drafted === undefined) return;
      const right = outcome === NodeOutcome.accepted ? 1 : 0;
      drafted.foreseen[Drafter[drafter]] = (drafted.foreseen[Drafter[drafter]] ?? 0) + right;
    });
  }
}
