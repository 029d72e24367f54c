import type { Profile } from '../../lib/controller/cost';

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

/** A model of 8 B parameters whose weights are read once a pass. */
const parameters = 8e9;

/**
 * A pass by its roof: weights are read at a bandwidth that kernels reach, or multiplied at a rate that they reach, whichever takes longer; so
 * many sequences decode together, all of them verifying as much, and share the pass.
 */
function roof(bytes: number, bandwidth: number, flops: number, batch: number): (rows: number) => number {
  return (rows) => Math.max((parameters * bytes) / bandwidth, (2 * parameters * rows * batch) / flops) + 3e-4;
}

function machine(seconds: (rows: number) => number, secondsPerContextToken: number): Machine {
  const passSeconds = Array.from({ length: 64 }, (_, i) => seconds(i + 1));
  return { profile: { passSeconds, context: 256, secondsPerContextToken, draftSeconds }, overheadSeconds: 5e-5 };
}

/**
 * `cpu` as it was measured; the others are roofs of an 8 B model, fp8 on H100 (85 % of 3.35 TB/s, 60 % of 1.98 PFLOP/s) and nvfp4 on B200
 * (60 % of 8 TB/s, 50 % of 9 PFLOP/s), alone and with 256 sequences, where arithmetic begins to bind.
 */
export const machines: Record<string, Machine> = {
  cpu: machine(measuredSeconds, 3e-7),
  h100: machine(roof(1, 0.85 * 3.35e12, 0.6 * 1.98e15, 1), 4e-8),
  'h100.b256': machine(roof(1, 0.85 * 3.35e12, 0.6 * 1.98e15, 256), 4e-8),
  b200: machine(roof(0.5625, 0.6 * 8e12, 0.5 * 9e15, 1), 2e-8),
  'b200.b256': machine(roof(0.5625, 0.6 * 8e12, 0.5 * 9e15, 256), 2e-8),
};

/** What a pass takes, noise left out. */
export function passSeconds({ profile }: Machine, rows: number, contextTokens: number): number {
  const usual = profile.passSeconds[Math.min(rows, profile.passSeconds.length) - 1];
  return usual + profile.secondsPerContextToken * (contextTokens - rows * profile.context);
}
