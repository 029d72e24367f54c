/**
 * A tiny Llama with seeded random weights and a byte-level tokenizer, written as a GGUF file without any dependency.
 *
 * It stands in where a real model can't be had: tests of the whole engine, and the demo without a network. What it says is
 * noise and how fast it says it means nothing, but every part that a real model goes through is there: grouped-query
 * attention, a tied head, a tokenizer with merges and special tokens, a chat template. The same options give the same bytes.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { byteCharacters } from './byte-alphabet';

export interface TinyModelOptions {
  /** Another seed gives other weights. Default 1. */
  seed?: number;
  /** How matrices are stored. Default 'q8_0'. */
  type?: 'f32' | 'q8_0';
  /** Transformer layers. Default 4. */
  layers?: number;
  /** Width of the residual stream, a multiple of 32. Default 128. */
  width?: number;
  /** Tokens that the model claims to handle. Default 2048. */
  contextLength?: number;
}

const headDim = 32;
const alignment = 32;
const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];

/** Merges in order of rank; Ġ is the byte-level alphabet's space. */
// prettier-ignore
const merges = [
  'Ġ t', 'h e', 'Ġ a', 'i n', 'r e', 'o n', 'Ġt he', 'e r', 'Ġ s', 'a t', 'Ġ o', 'e n', 'Ġ c', 'i t', 'i s', 'Ġ w', 'e s',
  'n d', 'Ġ f', 'o r', 'in g', 'Ġo f', 'Ġ in', 'e d', 'Ġt o', 'Ġa nd', 'a l', 'Ġ p', 'a n', 'o u', 'Ġ b', 'l l',
];

const chatTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** Bytes of growing length, little-endian. */
class ByteWriter {
  private readonly parts: Buffer[] = [];
  length = 0;

  bytes(part: Buffer): void {
    this.parts.push(part);
    this.length += part.length;
  }
  u32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.bytes(part);
  }
  u64(value: number): void {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    this.bytes(part);
  }
  f32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    this.bytes(part);
  }
  string(text: string): void {
    const part = Buffer.from(text, 'utf8');
    this.u64(part.length);
    this.bytes(part);
  }
  align(): void {
    this.bytes(Buffer.alloc((alignment - (this.length % alignment)) % alignment));
  }
  concat(): Buffer {
    return Buffer.concat(this.parts);
  }
}

/** Numbers of GGUF's metadata types. */
const metaType = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/** The metadata section, counted as it is written. */
class Metadata {
  readonly out = new ByteWriter();
  count = 0;

  private key(name: string, type: number): void {
    this.out.string(name);
    this.out.u32(type);
    this.count++;
  }
  u32(name: string, value: number): void {
    this.key(name, metaType.u32);
    this.out.u32(value);
  }
  f32(name: string, value: number): void {
    this.key(name, metaType.f32);
    this.out.f32(value);
  }
  bool(name: string, value: boolean): void {
    this.key(name, metaType.bool);
    this.out.bytes(Buffer.from([value ? 1 : 0]));
  }
  string(name: string, value: string): void {
    this.key(name, metaType.string);
    this.out.string(value);
  }
  strings(name: string, values: string[]): void {
    this.arrayHead(name, metaType.string, values.length);
    for (const value of values) this.out.string(value);
  }
  i32s(name: string, values: number[]): void {
    this.arrayHead(name, metaType.i32, values.length);
    for (const value of values) this.out.u32(value);
  }
  private arrayHead(name: string, element: number, count: number): void {
    this.key(name, metaType.array);
    this.out.u32(element);
    this.out.u64(count);
  }
}

/** Random numbers that are the same on every machine: integer arithmetic and exact sums only (mulberry32). */
function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  // Four uniforms: near enough to a normal number, of variance 1.
  return () => (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3);
}

interface TinyTensor {
  name: string;
  /** As GGUF writes it: innermost first. */
  shape: number[];
  type: 'f32' | 'q8_0';
  values: Float32Array;
}

/** fp32 to the bits of f16, to nearest even; normal range only, which scales of random weights never leave. */
function halfBits(value: number): number {
  const word = new DataView(new ArrayBuffer(4));
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  const rounded = bits + 0xfff + ((bits >>> 13) & 1);
  return ((rounded >>> 13) - ((127 - 15) << 10)) & 0x7fff;
}

function halfValue(bits: number): number {
  return 2 ** ((bits >>> 10) - 15) * (1 + (bits & 0x3ff) / 1024);
}

/** Blocks of 32 weights: an f16 scale and 32 signed bytes. */
function packQ8(values: Float32Array): Buffer {
  const out = Buffer.alloc((values.length / 32) * 34);
  for (let block = 0; block < values.length / 32; block++) {
    const weights = values.subarray(block * 32, block * 32 + 32);
    const scale = halfBits(weights.reduce((most, w) => Math.max(most, Math.abs(w)), 0) / 127);
    out.writeUInt16LE(scale, block * 34);
    for (let i = 0; i < 32; i++) {
      const code = Math.round(weights[i] / halfValue(scale));
      out.writeInt8(Math.max(-127, Math.min(127, code)), block * 34 + 2 + i);
    }
  }
  return out;
}

function tensorBytes(tensor: TinyTensor): Buffer {
  if (tensor.type === 'q8_0') return packQ8(tensor.values);
  const out = Buffer.alloc(tensor.values.length * 4);
  tensor.values.forEach((value, i) => out.writeFloatLE(value, i * 4));
  return out;
}

function vocabulary(): string[] {
  return [...specials, ...byteCharacters, ...merges.map((merge) => merge.replace(' ', ''))];
}

/**
 * Makes the rows of special tokens and of bytes that are no text of their own short: with a tied head they are then hardly
 * ever the likeliest token, so that answers are readable noise and last until their limit.
 */
function quietUnprintable(embedding: TinyTensor, width: number): void {
  for (let id = 0; id < specials.length + 256; id++) {
    const byte = id - specials.length;
    const printable = byte === 0x0a || (byte >= 0x20 && byte <= 0x7e);
    if (!printable) for (let i = 0; i < width; i++) embedding.values[id * width + i] *= 0.1;
  }
}

function makeTensors(options: Required<TinyModelOptions>): TinyTensor[] {
  const random = randomSource(options.seed);
  const { width, type } = options;
  const ffn = width * 2;
  const matrix = (name: string, cols: number, rows: number, spread: number): TinyTensor => ({
    name: `${name}.weight`,
    shape: [cols, rows],
    type,
    values: Float32Array.from({ length: rows * cols }, () => random() * spread),
  });
  const norm = (name: string): TinyTensor => ({
    name: `${name}.weight`,
    shape: [width],
    type: 'f32',
    values: Float32Array.from({ length: width }, () => 1 + 0.1 * random()),
  });
  const tensors = [matrix('token_embd', width, vocabulary().length, 0.3), norm('output_norm')];
  quietUnprintable(tensors[0], width);
  const keys = Math.max(headDim, width / 2);
  for (let layer = 0; layer < options.layers; layer++) {
    const part = (name: string) => `blk.${layer}.${name}`;
    const inner = 1.2 / Math.sqrt(width);
    tensors.push(
      norm(part('attn_norm')),
      matrix(part('attn_q'), width, width, inner),
      matrix(part('attn_k'), width, keys, inner),
      matrix(part('attn_v'), width, keys, inner),
      matrix(part('attn_output'), width, width, inner),
      norm(part('ffn_norm')),
      matrix(part('ffn_gate'), width, ffn, inner),
      matrix(part('ffn_up'), width, ffn, inner),
      matrix(part('ffn_down'), ffn, width, 1.2 / Math.sqrt(ffn)),
    );
  }
  return tensors;
}

function makeMetadata(options: Required<TinyModelOptions>): Metadata {
  const meta = new Metadata();
  const tokens = vocabulary();
  meta.string('general.architecture', 'llama');
  meta.string('general.name', 'foretoken tiny random');
  meta.u32('general.alignment', alignment);
  meta.u32('llama.block_count', options.layers);
  meta.u32('llama.context_length', options.contextLength);
  meta.u32('llama.embedding_length', options.width);
  meta.u32('llama.feed_forward_length', options.width * 2);
  meta.u32('llama.attention.head_count', options.width / headDim);
  meta.u32('llama.attention.head_count_kv', Math.max(1, options.width / headDim / 2));
  meta.u32('llama.rope.dimension_count', headDim);
  meta.f32('llama.rope.freq_base', 10000);
  meta.f32('llama.attention.layer_norm_rms_epsilon', 1e-5);
  meta.u32('llama.vocab_size', tokens.length);
  meta.string('tokenizer.ggml.model', 'gpt2');
  meta.string('tokenizer.ggml.pre', 'gpt-2');
  meta.strings('tokenizer.ggml.tokens', tokens);
  meta.i32s(
    'tokenizer.ggml.token_type',
    tokens.map((_, id) => (id < specials.length ? 3 : 1)),
  ); // 3 control, 1 normal
  meta.strings('tokenizer.ggml.merges', merges);
  meta.u32('tokenizer.ggml.bos_token_id', 1);
  meta.u32('tokenizer.ggml.eos_token_id', 2);
  meta.u32('tokenizer.ggml.padding_token_id', 0);
  meta.bool('tokenizer.ggml.add_bos_token', false);
  meta.string('tokenizer.chat_template', chatTemplate);
  return meta;
}

/** The bytes of the tiny model's GGUF file (about 0.7 MB with the defaults). */
export function tinyModelBytes(options: TinyModelOptions = {}): Buffer {
  const full = { seed: 1, type: 'q8_0' as const, layers: 4, width: 128, contextLength: 2048, ...options };
  if (full.width % headDim !== 0 || full.width <= 0) throw new RangeError(`width must be a multiple of ${headDim}`);
  if ((full.width / headDim) % 2 !== 0 && full.width !== headDim) throw new RangeError('width / 32 must be 1 or even');
  const meta = makeMetadata(full);
  const tensors = makeTensors(full);
  const data = new ByteWriter();
  const infos = new ByteWriter();
  for (const tensor of tensors) {
    infos.string(tensor.name);
    infos.u32(tensor.shape.length);
    for (const size of tensor.shape) infos.u64(size);
    infos.u32(tensor.type === 'f32' ? 0 : 8); // ggml's numbers of F32 and Q8_0
    infos.u64(data.length);
    data.bytes(tensorBytes(tensor));
    data.align();
  }
  const file = new ByteWriter();
  file.bytes(Buffer.from('GGUF'));
  file.u32(3);
  file.u64(tensors.length);
  file.u64(meta.count);
  file.bytes(meta.out.concat());
  file.bytes(infos.concat());
  file.align();
  file.bytes(data.concat());
  return file.concat();
}

/** Writes the tiny model to `path`, whole or not at all. */
export function writeTinyModel(path: string, options: TinyModelOptions = {}): void {
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}.partial`;
  writeFileSync(partial, tinyModelBytes(options));
  renameSync(partial, path);
}
