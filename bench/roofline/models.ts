/** Attention with keys and values of its own for every group of heads, or out of one latent row a token (MLA). */
export type Attention =
  | { kind: 'grouped'; heads: number; keyHeads: number; headWidth: number }
  | { kind: 'latent'; heads: number; queryRank: number; keyRank: number; rotary: number; key: number; value: number };

/** What a decode step has to move, by its shapes alone; from the models' own config files. */
export interface ModelShape {
  layers: number;
  width: number;
  vocabulary: number;
  attention: Attention;
  /** Layers with an ordinary MLP come first; all of them where there are no experts. */
  dense: { layers: number; inner: number };
  experts?: { count: number; chosen: number; shared: number; inner: number };
}

const latent = { kind: 'latent', queryRank: 1536, keyRank: 512, rotary: 64, key: 128, value: 128 } as const;

/** Models whose steps are worked out. */
export const models: Record<string, ModelShape> = {
  'llama-3-8b': {
    ...{ layers: 32, width: 4096, vocabulary: 128_256 },
    attention: { kind: 'grouped', heads: 32, keyHeads: 8, headWidth: 128 },
    dense: { layers: 32, inner: 14_336 },
  },
  'qwen3-32b': {
    ...{ layers: 64, width: 5120, vocabulary: 151_936 },
    attention: { kind: 'grouped', heads: 64, keyHeads: 8, headWidth: 128 },
    dense: { layers: 64, inner: 25_600 },
  },
  'deepseek-v3.1': {
    ...{ layers: 61, width: 7168, vocabulary: 129_280 },
    attention: { ...latent, heads: 128 },
    dense: { layers: 3, inner: 18_432 },
    experts: { count: 256, chosen: 8, shared: 1, inner: 2048 },
  },
  'kimi-k2': {
    ...{ layers: 61, width: 7168, vocabulary: 163_840 },
    attention: { ...latent, heads: 64 },
    dense: { layers: 1, inner: 18_432 },
    experts: { count: 384, chosen: 8, shared: 1, inner: 2048 },
  },
};
