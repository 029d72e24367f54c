import { tau, type Answer } from '../common/answer';
import { mean } from '../common/stats';

/** A window has recovered where its acceptance length is this share of the reference's, … */
const recovered = 0.95;
/** … and so are it and the next two on average. */
const following = 2;
/** Windows are so many requests: this share of a phase, for a shift is judged by where the window ends. */
const windowShare = 1 / 8;
/** A shift counts as recovered where that comes within this share of the phase. */
const inTimeShare = 1 / 4;

/** What followed a shift. */
export interface Shift {
  phase: number;
  /** Requests until the first window has ended in which as many tokens a pass came as from the reference; Infinity: never in this phase. */
  requests: number;
  inTime: boolean;
  /** By how much the first window fell short of the reference, as a share. */
  dip: number;
}

/** Requests of a stream, answered by who learns as it comes and by a reference that has seen other requests of each phase's kind. */
export interface Paired {
  phase: number;
  arms: Record<'adaptive' | 'reference', Answer>;
}

/** Of each shift: requests until tokens a pass are those of a reference that had seen such text. */
export function shiftsOf(requests: readonly Paired[]): Shift[] {
  const phases = new Set(requests.map(({ phase }) => phase));
  return [...phases].slice(1).map((phase) => {
    const inside = requests.filter((request) => request.phase === phase);
    const span = Math.ceil(windowShare * inside.length);
    const ratios = windowRatios(inside, span);
    const after = recovery(ratios, span);
    return { phase, requests: after, inTime: after <= Math.ceil(inTimeShare * inside.length), dip: 1 - ratios[0] };
  });
}

/** Tokens a pass over the reference's, of each window by where it begins; rounds of its requests count together. */
function windowRatios(inside: readonly Paired[], span: number): number[] {
  const length = (arm: keyof Paired['arms'], at: number): number =>
    tau(inside.slice(at, at + span).map(({ arms }) => arms[arm]));
  return Array.from({ length: inside.length - span + 1 }, (_, at) => length('adaptive', at) / length('reference', at));
}

/** Requests from a shift to the end of the first window that is as good as the reference, and stays so; Infinity where none is. */
export function recovery(ratios: readonly number[], span: number): number {
  const at = ratios.findIndex(
    (ratio, i) => ratio >= recovered && mean(ratios.slice(i, i + 1 + following)) >= recovered,
  );
  return at < 0 ? Infinity : at + span;
}
