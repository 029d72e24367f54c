import { cards, type LinearFormat } from './cards';
import type { models } from './models';
import type { Setup } from './step';

/** A decoding speed that somebody published. */
export interface PublishedSpeed {
  name: string;
  model: keyof typeof models;
  setup: Setup;
  tokensPerSecond: number;
  /** Where it says so. */
  source: string;
}

/** What a kernel reached for somebody, in bytes/s of its weights. */
export interface PublishedKernel {
  name: string;
  card: keyof typeof cards;
  format: LinearFormat;
  bytesPerSecond: number;
  source: string;
}

const atlas = 'Together AI, ATLAS, 2025-10';
const one = (gpus: number, format: LinearFormat): Setup => ({
  ...{ card: cards.b200, gpus, format },
  ...{ batch: 1, rows: 1, context: 4096 },
});

/** Plain decoding, one sequence. The FP4 figure is the FP8 one times the 1.8 that its makers name. */
export const speeds: PublishedSpeed[] = [
  { name: 'atlas.fp8', model: 'deepseek-v3.1', setup: one(4, 'fp8'), tokensPerSecond: 105, source: atlas },
  { name: 'atlas.fp4', model: 'deepseek-v3.1', setup: one(4, 'nvfp4'), tokensPerSecond: 189, source: atlas },
  {
    name: 'atlas.kimi',
    model: 'kimi-k2',
    setup: one(8, 'fp8'),
    tokensPerSecond: 150,
    source: `${atlas}; GPUs assumed`,
  },
];

/** DeepSeek-V3.1 on four B200 with everything on. */
export const atlasBest = 501;

export const kernels: PublishedKernel[] = [
  {
    ...{ name: 'deepgemm.m64', card: 'h100', format: 'fp8', bytesPerSecond: 2668e9 },
    source: 'DeepGEMM readme, 7168x16384, H800',
  },
  {
    ...{ name: 'cutlass.m1', card: 'b200', format: 'fp8', bytesPerSecond: 5.3e12 },
    source: 'vLLM pull request 20071, 28672x4096',
  },
  {
    ...{ name: 'helion.m1', card: 'b200', format: 'nvfp4', bytesPerSecond: 3.0e12 },
    source: 'Helion pull request 3046, 28672x4096',
  },
];
