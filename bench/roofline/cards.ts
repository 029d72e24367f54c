/** Formats of linear layers; output layer and router are bf16 in all of them, keys and values fp8. */
export type LinearFormat = 'bf16' | 'fp8' | 'nvfp4';

/** Bytes of a weight, scales included (fp8: one fp32 per 128 x 128; nvfp4: one e4m3 per 16). */
export const bytesPerWeight: Record<LinearFormat, number> = { bf16: 2, fp8: 1, nvfp4: 0.5625 };

/** A GPU by its data sheet, dense rates. */
export interface Card {
  /** Bytes of memory, and bytes/s of it. */
  memory: number;
  bandwidth: number;
  /** Multiply-adds count as two. Where a format has no arithmetic of its own, weights are widened and multiplied as bf16. */
  flops: Record<LinearFormat, number>;
  /** Bytes/s between GPUs, one way. */
  link: number;
}

export const cards: Record<string, Card> = {
  h100: { memory: 80e9, bandwidth: 3.35e12, flops: { bf16: 0.99e15, fp8: 1.98e15, nvfp4: 0.99e15 }, link: 450e9 },
  b200: { memory: 180e9, bandwidth: 8e12, flops: { bf16: 2.25e15, fp8: 4.5e15, nvfp4: 9e15 }, link: 900e9 },
};

/** What kernels are expected to reach: the goals of this project's own kernels. Nothing here has been measured by it yet. */
export const assumed = {
  /** Of the data sheet's bandwidth, by a kernel that only reads (an H100 measured 3.0 of 3.35 TB/s). */
  readCeiling: 0.9,
  /** Of that ceiling, by kernels of each format. */
  share: { bf16: 0.9, fp8: 0.85, nvfp4: 0.8 } as Record<LinearFormat, number>,
  /** Of the arithmetic's peak. */
  peakShare: 0.6,
  /** Seconds from one kernel of a CUDA graph to the next. */
  gap: 1.5e-6,
  /** Seconds of a sum over all GPUs beside its bytes. */
  reduce: 6e-6,
  /** A draft's part of a round's seconds. */
  draft: 0.08,
};
