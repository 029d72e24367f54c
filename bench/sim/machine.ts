import type { Profile } from '../../lib/controller/cost';
import { cards, type LinearFormat } from '../roofline/cards';
import { models } from '../roofline/models';
import { stepSeconds } from '../roofline/step';

/** What passes of one sequence cost somewhere. */
export interface Machine {
  profile: Profile;
  /** Seconds of a round beside its pass. */
  overheadSeconds: number;
}

const draftSeconds = [0, 5e-6, 2e-6, 0, 2e-5, 0, 2.5e-5];

/** Widths between which the price is a straight line: SmolLM2-135M on two cores with AVX-512, milliseconds of a pass. */
const measured: readonly [number, number][] = [
  [1, 3.2],
  [2, 3.3],
  [4, 3.9],
  [8, 5.4],
  [16, 9.4],
  [32, 17.5],
  [64, 38],
];

function measuredSeconds(rows: number): number {
  const above = measured.findIndex(([width]) => width >= rows);
  const [right, slow] = measured[above];
  const [left, fast] = measured[Math.max(0, above - 1)];
  return (fast + ((slow - fast) * (rows - left)) / Math.max(1, right - left)) / 1000;
}

const context = 256;

/** A step of `bench roofline`'s 8 B model on one card; so many sequences decode together, all verify as much, and each pays for the pass. */
function roof(card: string, format: LinearFormat, batch: number): Machine {
  const seconds = (rows: number, at = context): number =>
    stepSeconds(models['llama-3-8b'], { card: cards[card], gpus: 1, format, batch, rows, context: at });
  return machine(seconds, (seconds(1, 2 * context) - seconds(1)) / context);
}

function machine(seconds: (rows: number) => number, secondsPerContextToken: number): Machine {
  const passSeconds = Array.from({ length: 64 }, (_, i) => seconds(i + 1));
  return { profile: { passSeconds, context, secondsPerContextToken, draftSeconds }, overheadSeconds: 5e-5 };
}

/**
 * `cpu` as it was measured; the others by the cost model of `bench roofline`, fp8 on H100 and nvfp4 on B200, alone and with 256 sequences,
 * where arithmetic begins to bind.
 */
export const machines: Record<string, Machine> = {
  cpu: machine(measuredSeconds, 3e-7),
  h100: roof('h100', 'fp8', 1),
  'h100.b256': roof('h100', 'fp8', 256),
  b200: roof('b200', 'nvfp4', 1),
  'b200.b256': roof('b200', 'nvfp4', 256),
};

/** What a pass takes, noise left out. */
export function passSeconds({ profile }: Machine, rows: number, contextTokens: number): number {
  const usual = profile.passSeconds[Math.min(rows, profile.passSeconds.length) - 1];
  return usual + profile.secondsPerContextToken * (contextTokens - rows * profile.context);
}
