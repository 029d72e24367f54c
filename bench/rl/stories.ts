import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Rows of a head, at least what attention takes. */
const headRows = 32;

interface Tensor {
  name: string;
  shape: number[];
  values: Float32Array;
}

/**
 * Brings a model of llama2.c (version 0: seven sizes, then fp32 weights) into the layout of a Hugging Face folder, with tokens that
 * have numbers for names.
 */
export function convertLlama2c(file: string, folder: string): void {
  if (existsSync(join(folder, 'model.safetensors'))) return;
  const bytes = readFileSync(file);
  const [width, ffn, layers, heads, kvHeads, vocabulary, context] = Array.from({ length: 7 }, (_, i) =>
    bytes.readInt32LE(4 * i),
  );
  const headDim = width / heads;
  let at = 28;
  const take = (...shape: number[]): Tensor['values'] => {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length: count }, (_, i) => bytes.readFloatLE(at + 4 * i));
    at += 4 * count;
    return values;
  };
  const tensors: Tensor[] = [
    { name: 'model.embed_tokens.weight', shape: [vocabulary, width], values: take(vocabulary, width) },
  ];
  const perLayer = (name: string, ...shape: number[]): void => {
    for (let layer = 0; layer < layers; ++layer)
      tensors.push({ name: `model.layers.${layer}.${name}.weight`, shape, values: take(...shape) });
  };
  perLayer('input_layernorm', width);
  perLayer('self_attn.q_proj', width, width);
  perLayer('self_attn.k_proj', kvHeads * headDim, width);
  perLayer('self_attn.v_proj', kvHeads * headDim, width);
  perLayer('self_attn.o_proj', width, width);
  perLayer('post_attention_layernorm', width);
  perLayer('mlp.gate_proj', ffn, width);
  perLayer('mlp.down_proj', width, ffn);
  perLayer('mlp.up_proj', ffn, width);
  tensors.push({ name: 'model.norm.weight', shape: [width], values: take(width) });
  const wide = tensors.map((tensor) => (/[qkvo]_proj/.test(tensor.name) ? widened(tensor, headDim) : tensor));
  mkdirSync(folder, { recursive: true });
  const config = {
    ...{ model_type: 'llama', hidden_size: width, intermediate_size: ffn, num_hidden_layers: layers },
    ...{ num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headRows, vocab_size: vocabulary },
    ...{ max_position_embeddings: context, rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true },
    ...{ bos_token_id: 1, eos_token_id: 2 },
  };
  const vocab = Object.fromEntries(Array.from({ length: vocabulary }, (_, i) => [`<${i}>`, i]));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ model: { type: 'BPE', vocab, merges: [] } }));
  writeFileSync(join(folder, 'model.safetensors'), safetensors(wide));
}

/**
 * llama2.c turns neighbouring rows of queries and keys together, Hugging Face those that are half a head apart; and heads are filled up
 * with zeros to {@link headRows}. Pairs take the places whose frequency is theirs, and queries make up for the wider head's scale.
 */
function widened({ name, shape: [rows, cols], values }: Tensor, headDim: number): Tensor {
  const stretch = headRows / headDim;
  const place = (at: number): number => {
    const inHead = at % headDim;
    const rotary = (inHead >> 1) * stretch + (inHead & 1) * (headRows / 2);
    return Math.floor(at / headDim) * headRows + (/[qk]_proj/.test(name) ? rotary : inHead);
  };
  const byColumn = name.includes('o_proj');
  const factor = name.includes('q_proj') ? Math.sqrt(stretch) : 1;
  const shape = byColumn ? [rows, cols * stretch] : [rows * stretch, cols];
  const wide = new Float32Array(shape[0] * shape[1]);
  for (let row = 0; row < rows; ++row) {
    for (let col = 0; col < cols; ++col) {
      const at = byColumn ? row * shape[1] + place(col) : place(row) * cols + col;
      wide[at] = factor * values[row * cols + col];
    }
  }
  return { name, shape, values: wide };
}

function safetensors(tensors: Tensor[]): Buffer {
  let end = 0;
  const entries = tensors.map(({ name, shape, values }) => {
    const begin = end;
    end += values.byteLength;
    return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, ...tensors.map(({ values }) => Buffer.from(values.buffer))]);
}
