import { assumed, bytesPerWeight, type Card, type LinearFormat } from './cards';
import type { Attention, ModelShape } from './models';

/** Where and how a step runs. */
export interface Setup {
  card: Card;
  gpus: number;
  format: LinearFormat;
  /** Sequences that decode together, rows of each (1 = plain decoding), tokens of context of each. */
  batch: number;
  rows: number;
  context: number;
}

/** Kernels of one kind in a step, on one GPU, all of them together. */
export interface Kernels {
  name: string;
  count: number;
  bytes: number;
  flops: number;
  /** Format of its arithmetic; the one of its bytes is counted in them. */
  format: LinearFormat;
}

const bf16Bytes = 2;
const keyBytes = 1; // keys and values are kept in fp8

/**
 * The kernels of a decode step under tensor parallelism: every matrix is cut among the GPUs, keys and values by heads where there are enough of
 * them (a latent row is not cut), sums over all GPUs after attention and after the MLP.
 */
export function kernelsOf(model: ModelShape, setup: Setup): Kernels[] {
  const { layers, width, dense, experts } = model;
  const tokens = setup.batch * setup.rows;
  const linear = (name: string, count: number, weights: number, reads = weights): Kernels => ({
    ...{ name, count, format: setup.format },
    bytes: (count * reads * bytesPerWeight[setup.format]) / setup.gpus,
    flops: (2 * count * tokens * weights) / setup.gpus,
  });
  const { before, after, attended } = attentionWeights(model.attention, width);
  const kernels = [
    linear('attention in', layers, before),
    { ...attentionKernels(model, setup, tokens), count: 2 * layers }, // append with rotation, then attention
    linear('attention out', layers, after),
    linear('MLP in', dense.layers, 2 * width * dense.inner),
    linear('MLP out', dense.layers, width * dense.inner),
  ];
  if (attended > 0) kernels.push(linear('latent keys, values', 2 * layers, attended / 2));
  if (experts) {
    const sparse = layers - dense.layers;
    const distinct = experts.shared + expectedExperts(experts.count, experts.chosen, tokens);
    const active = experts.shared + experts.chosen;
    const one = width * experts.inner;
    kernels.push(
      plainLinear('router', sparse, width * experts.count, tokens, 1),
      linear('experts in', sparse, 2 * active * one, 2 * distinct * one),
      linear('experts out', sparse, active * one, distinct * one),
    );
  }
  kernels.push(plainLinear('output', 1, width * model.vocabulary, tokens, setup.gpus));
  kernels.push({ name: 'verification', count: 2, bytes: 2 * tokens * model.vocabulary, flops: 0, format: 'bf16' });
  return kernels;
}

/** Bytes of a model's weights, all experts included, embedding and output in bf16. */
export function weightBytes(model: ModelShape, format: LinearFormat): number {
  const { layers, width, dense, experts } = model;
  const { before, after, attended } = attentionWeights(model.attention, width);
  const sparse = experts ? (layers - dense.layers) * 3 * width * experts.inner * (experts.count + experts.shared) : 0;
  const linear = layers * (before + after + attended) + dense.layers * 3 * width * dense.inner + sparse;
  return linear * bytesPerWeight[format] + 2 * width * model.vocabulary * bf16Bytes;
}

/** Different experts that some tokens choose, each independently of the others: more than tokens of one text do. */
export function expectedExperts(count: number, chosen: number, tokens: number): number {
  return count * (1 - (1 - chosen / count) ** tokens);
}

/** Seconds that kernels take by their bytes or their arithmetic, at the given share of the read ceiling. */
export function kernelSeconds({ bytes, flops, format }: Kernels, card: Card, share: number): number {
  const reading = bytes / (card.bandwidth * assumed.readCeiling * share);
  return Math.max(reading, flops / (card.flops[format] * assumed.peakShare));
}

/** Seconds of a step beside kernels' own work: gaps between them, and sums over GPUs. */
export function overheadSeconds(model: ModelShape, setup: Setup, gap = assumed.gap): number {
  const kernels = kernelsOf(model, setup).reduce((sum, { count }) => sum + count, 0);
  if (setup.gpus === 1) return kernels * gap;
  const sumBytes = setup.batch * setup.rows * model.width * bf16Bytes;
  return kernels * gap + 2 * model.layers * (assumed.reduce + (2 * sumBytes) / setup.card.link);
}

/** Seconds of a step. */
export function stepSeconds(model: ModelShape, setup: Setup, gap = assumed.gap): number {
  const share = assumed.share[setup.format];
  const work = kernelsOf(model, setup).reduce((sum, each) => sum + kernelSeconds(each, setup.card, share), 0);
  return work + overheadSeconds(model, setup, gap);
}

/** Tokens/s of each sequence when a round drafts, verifies `rows` rows and keeps `acceptance` tokens of them. */
export function tokensPerSecond(model: ModelShape, setup: Setup, acceptance: number, gap = assumed.gap): number {
  const draft = setup.rows > 1 ? assumed.draft : 0;
  return (acceptance * (1 - draft)) / stepSeconds(model, setup, gap);
}

function plainLinear(name: string, count: number, weights: number, tokens: number, gpus: number): Kernels {
  const bytes = (count * weights * bf16Bytes) / gpus;
  return { name, count, bytes, flops: (2 * count * tokens * weights) / gpus, format: 'bf16' };
}

/** Weights before attention, after it, and (latent) of the two products that take queries and results through the latent space. */
function attentionWeights(attention: Attention, width: number): { before: number; after: number; attended: number } {
  if (attention.kind === 'grouped') {
    const { heads, keyHeads, headWidth } = attention;
    return { before: width * (heads + 2 * keyHeads) * headWidth, after: heads * headWidth * width, attended: 0 };
  }
  const { heads, queryRank, keyRank, rotary, key, value } = attention;
  const before = width * (queryRank + keyRank + rotary) + queryRank * heads * (key + rotary);
  return { before, after: heads * value * width, attended: keyRank * heads * (key + value) };
}

function attentionKernels(model: ModelShape, setup: Setup, tokens: number): Omit<Kernels, 'count'> {
  const { attention, layers } = model;
  const { gpus, batch, context } = setup;
  const name = 'attention';
  if (attention.kind === 'grouped') {
    const { heads, keyHeads, headWidth } = attention;
    const own = Math.max(1, keyHeads / gpus);
    const bytes = layers * batch * context * 2 * own * headWidth * keyBytes;
    return { name, bytes, flops: (4 * layers * tokens * context * heads * headWidth) / gpus, format: 'bf16' };
  }
  const { heads, keyRank, rotary } = attention;
  const bytes = layers * batch * context * (keyRank + rotary) * keyBytes;
  return {
    name,
    bytes,
    flops: (2 * layers * tokens * context * heads * (2 * keyRank + rotary)) / gpus,
    format: 'bf16',
  };
}
