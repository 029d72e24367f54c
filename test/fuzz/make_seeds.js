// Writes the seeds of the reader targets: small valid files that between them use every field of their formats.
//
//   node test/fuzz/make_seeds.js        (over)writes test/fuzz/corpus/{gguf,safetensors,json,head}/
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const u8 = (value) => Buffer.from([value]);
const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const f32 = (value) => Buffer.from(Float32Array.of(value).buffer);
const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);
const array = (type, elements) => Buffer.concat([u32(type), u64(elements.length), ...elements]);

/** GGUF's numbers of metadata types, with a value of each. */
const metadata = [
  ['u8', 0, u8(200)],
  ['i8', 1, u8(0x80)],
  ['u16', 2, Buffer.from([1, 2])],
  ['i16', 3, Buffer.from([0xff, 0xff])],
  ['u32', 4, u32(7)],
  ['i32', 5, u32(0xfffffff0)],
  ['f32', 6, f32(0.5)],
  ['bool', 7, u8(1)],
  ['string', 8, string('grüße')],
  ['u64', 10, u64(2n ** 63n)],
  ['i64', 11, u64(2n ** 64n - 1n)],
  ['f64', 12, Buffer.from(Float64Array.of(-1e300).buffer)],
  ['tokens', 9, array(8, ['a', '', 'Ġthe'].map(string))],
  ['scores', 9, array(6, [f32(1), f32(-2)])],
  ['flags', 9, array(7, [u8(0), u8(1)])],
  ['nested', 9, array(9, [array(4, [u32(1), u32(2)]), array(8, [string('x')])])],
];

/** The tensor types that are read: number, elements and bytes of a block. */
const tensorTypes = [
  [0, 1, 4],
  [1, 1, 2],
  [30, 1, 2],
  [8, 32, 34],
  [2, 32, 18],
  [3, 32, 20],
  [12, 256, 144],
  [13, 256, 176],
  [14, 256, 210],
];

function align(buffer, alignment) {
  return Buffer.concat([buffer, Buffer.alloc((alignment - (buffer.length % alignment)) % alignment)]);
}

/** `tensors`: [type, dimensions innermost first, bytes]; their data counts up, so that scales are finite and not zero. */
function gguf(version, alignment, pairs, tensors) {
  const withAlignment = alignment === 32 ? pairs : [...pairs, ['general.alignment', 4, u32(alignment)]];
  const head = [Buffer.from('GGUF'), u32(version), u64(tensors.length), u64(withAlignment.length)];
  for (const [key, type, value] of withAlignment) head.push(string(key), u32(type), value);
  let data = Buffer.alloc(0);
  tensors.forEach(([type, dimensions, bytes], index) => {
    head.push(string(`t${index}`), u32(dimensions.length), ...dimensions.map(u64), u32(type), u64(data.length));
    data = align(Buffer.concat([data, Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7) % 64))]), alignment);
  });
  return Buffer.concat([align(Buffer.concat(head), alignment), data]);
}

function safetensors(header, dataBytes) {
  const text = Buffer.from(JSON.stringify(header));
  return Buffer.concat([u64(text.length), text, Buffer.alloc(dataBytes, 0x3c)]);
}

/** The tensors of a draft head: 16 wide, of 16 tokens, with blocks of two. */
const headShapes = {
  'feature_norms.0.weight': [16],
  'feature_norms.1.weight': [16],
  'fc.weight': [16, 32],
  'context_norm.weight': [16],
  'token_norm.weight': [16],
  'join.weight': [16, 32],
  mask: [1, 16],
  'inject.weight': [16, 16],
  'layers.0.attention_norm.weight': [16],
  'layers.0.attention.q.weight': [16, 16],
  'layers.0.attention.k.weight': [16, 16],
  'layers.0.attention.v.weight': [16, 16],
  'layers.0.attention.o.weight': [16, 16],
  'layers.0.mlp_norm.weight': [16],
  'layers.0.mlp.gate.weight': [16, 16],
  'layers.0.mlp.up.weight': [16, 16],
  'layers.0.mlp.down.weight': [16, 16],
  'output_norm.weight': [16],
  'before.weight': [17, 2],
  after: [16, 2],
};

const headMetadata = {
  format: 'foretoken block head 1',
  model: 'target',
  tokenizer: 'tokenizer',
  fused_layers: '1,2',
  width: '16',
  layers: '1',
  inner: '16',
  query_heads: '1',
  key_heads: '1',
  head_width: '16',
  rank: '2',
  slots: '2',
  positions: '8',
  epsilon: '1e-05',
  rotary_base: '10000',
};

/** Matrices in `dtype`, in fp8 with a scale for each row; `whole`: lists of whole numbers by name. */
function head(dtype, whole) {
  const header = { __metadata__: headMetadata };
  const data = [];
  let at = 0;
  const add = (name, type, shape, bytes) => {
    header[name] = { dtype: type, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
    data.push(bytes);
  };
  for (const [name, shape] of Object.entries(headShapes)) {
    const isCodes = dtype === 'F8_E4M3' && shape.length === 2;
    const size = shape.reduce((a, b) => a * b);
    add(name, isCodes ? dtype : 'BF16', shape, Buffer.alloc(isCodes ? size : 2 * size, 0x3c));
    if (isCodes) add(`${name}.scale`, 'F32', [shape[0]], Buffer.concat(Array(shape[0]).fill(f32(0.5))));
  }
  for (const [name, numbers] of Object.entries(whole))
    add(name, 'F32', [numbers.length], Buffer.concat(numbers.map(f32)));
  if (whole.output_delta_places) {
    const shape = [whole.output_delta_places.length, 16];
    add('output_delta', 'F32', shape, Buffer.alloc(4 * shape[0] * shape[1], 0x3c));
  }
  const text = Buffer.from(JSON.stringify(header));
  return Buffer.concat([u64(text.length), text, ...data]);
}

const draftIds = Array.from({ length: 16 }, (_, i) => 2 * i);

const oneOfEach = tensorTypes.map(([type, elements, bytes]) => [type, [elements, 2], bytes * 2]);

const seeds = {
  gguf: {
    'metadata.gguf': gguf(3, 32, metadata, []),
    'tensors.gguf': gguf(3, 32, [], oneOfEach),
    'aligned-v2.gguf': gguf(2, 64, [['general.name', 8, string('x')]], [[0, [2, 1, 3, 2], 48]]),
  },
  safetensors: {
    'types.safetensors': safetensors(
      {
        __metadata__: { format: 'pt' },
        a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
        b: { dtype: 'F16', shape: [3], data_offsets: [24, 30] },
        'c.ü': { dtype: 'BF16', shape: [], data_offsets: [30, 32] },
      },
      32,
    ),
    'empty.safetensors': safetensors({ none: { dtype: 'F32', shape: [0, 4], data_offsets: [0, 0] } }, 0),
  },
  head: {
    'bf16.safetensors': head('BF16', { draft_ids: draftIds }),
    'fp8.safetensors': head('F8_E4M3', { draft_ids: draftIds, output_delta_places: [3, 15] }),
  },
  json: {
    'values.json': Buffer.from(
      '{"a": [0, -1, 1.5, 2e-3, 9223372036854775807], "b": {"c": null, "d": true, "e": false}, "f": ""}',
    ),
    'strings.json': Buffer.from(String.raw`["\"\\\/\b\f\n\r\t", "\u00e9\ud83d\ude00", "é😀"]`),
    'config.json': Buffer.from(
      JSON.stringify({ architectures: ['LlamaForCausalLM'], hidden_size: 576, rope_scaling: null, rms_norm_eps: 1e-5 }),
    ),
  },
};

for (const [target, files] of Object.entries(seeds)) {
  const folder = path.join(__dirname, 'corpus', target);
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), bytes);
}
