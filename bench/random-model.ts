import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { random } from './common/stats';

/**
 * A Llama of 1.24 B parameters with random weights in Q4_1 (16 layers, d 2048, ffn 8192, 32 heads, 8 KV heads, vocabulary
 * 128,256, tied head; 775 MB): a size at which nothing but the stream of weights matters. It says nothing sensible.
 */
export function writeRandomModel(path: string): void {
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  const shapes = tensorShapes();
  const header = ggufHeader(shapes);
  const temporary = `${path}.${process.pid}.tmp`;
  const file = openSync(temporary, 'w');
  writeSync(file, header);
  const q4 = randomQ4Blocks(1 << 16);
  const ones = Buffer.from(new Float32Array(width).fill(1).buffer);
  for (const { rows, cols } of shapes) {
    if (rows === 1) writeSync(file, ones);
    else
      for (let left = (rows * cols * 20) / 32; left > 0; left -= q4.length)
        writeSync(file, q4, 0, Math.min(left, q4.length));
  }
  closeSync(file);
  renameSync(temporary, path);
}

const layers = 16;
const width = 2048;
const ffn = 8192;
const heads = 32;
const kvHeads = 8;
const vocabulary = 128_256;

interface Shape {
  name: string;
  rows: number;
  cols: number;
}

function tensorShapes(): Shape[] {
  const kv = (width / heads) * kvHeads;
  const layer = (i: number): Shape[] => [
    { name: `blk.${i}.attn_norm.weight`, rows: 1, cols: width },
    { name: `blk.${i}.attn_q.weight`, rows: width, cols: width },
    { name: `blk.${i}.attn_k.weight`, rows: kv, cols: width },
    { name: `blk.${i}.attn_v.weight`, rows: kv, cols: width },
    { name: `blk.${i}.attn_output.weight`, rows: width, cols: width },
    { name: `blk.${i}.ffn_norm.weight`, rows: 1, cols: width },
    { name: `blk.${i}.ffn_gate.weight`, rows: ffn, cols: width },
    { name: `blk.${i}.ffn_up.weight`, rows: ffn, cols: width },
    { name: `blk.${i}.ffn_down.weight`, rows: width, cols: ffn },
  ];
  return [
    { name: 'token_embd.weight', rows: vocabulary, cols: width },
    { name: 'output_norm.weight', rows: 1, cols: width },
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
  ];
}

/** Blocks of small weights around zero: a scale, a minimum of -7.5 scales, 16 bytes of nibbles. */
function randomQ4Blocks(count: number): Buffer {
  const next = random(1);
  const blocks = Buffer.alloc(count * 20);
  for (let i = 0; i < blocks.length; i++) blocks[i] = Math.floor(next() * 256);
  for (let at = 0; at < blocks.length; at += 20) {
    blocks.writeUInt16LE(0x1800, at); // 2^-9
    blocks.writeUInt16LE(0xa380, at + 2); // -7.5 * 2^-9
  }
  return blocks;
}

function ggufHeader(shapes: Shape[]): Buffer {
  const parts: Buffer[] = [];
  const u32 = (value: number) => parts.push(Buffer.from(new Uint32Array([value]).buffer));
  const u64 = (value: number) => parts.push(Buffer.from(new BigUint64Array([BigInt(value)]).buffer));
  const text = (value: string) => {
    u64(Buffer.byteLength(value));
    parts.push(Buffer.from(value));
  };
  const typed = (type: number, write: () => void) => {
    u32(type);
    write();
  };
  const metadata: [string, string | number | { f32: number }][] = [
    ['general.architecture', 'llama'],
    ['llama.block_count', layers],
    ['llama.context_length', 8192],
    ['llama.embedding_length', width],
    ['llama.feed_forward_length', ffn],
    ['llama.attention.head_count', heads],
    ['llama.attention.head_count_kv', kvHeads],
    ['llama.attention.layer_norm_rms_epsilon', { f32: 1e-5 }],
    ['llama.rope.freq_base', { f32: 500_000 }],
    ['llama.rope.dimension_count', width / heads],
    ['llama.vocab_size', vocabulary],
  ];
  parts.push(Buffer.from('GGUF'));
  u32(3);
  u64(shapes.length);
  u64(metadata.length);
  for (const [key, value] of metadata) {
    text(key);
    if (typeof value === 'string') typed(8, () => text(value));
    else if (typeof value === 'number') typed(4, () => u32(value));
    else typed(6, () => parts.push(Buffer.from(new Float32Array([value.f32]).buffer)));
  }
  let offset = 0;
  for (const { name, rows, cols } of shapes) {
    text(name);
    u32(rows === 1 ? 1 : 2);
    u64(cols);
    if (rows > 1) u64(rows);
    u32(rows === 1 ? 0 : 3); // F32, Q4_1
    u64(offset);
    offset += rows === 1 ? cols * 4 : (rows * cols * 20) / 32;
  }
  const length = parts.reduce((total, part) => total + part.length, 0);
  return Buffer.concat([...parts, Buffer.alloc((32 - (length % 32)) % 32)]);
}
