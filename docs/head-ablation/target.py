"""The target in PyTorch: hidden states of given token sequences, from a GGUF of the llama architecture.

    python target.py MODEL.gguf OUT_FOLDER SEQUENCES.jsonl... [--limit TOKENS]

SEQUENCES: {group, prompt: ids, answer: ids} a line; what a drafter shall learn or is judged by is the answer. Writes tokens, `start` of
each sequence and of each answer, the residual stream after `LAYERS` layers and the final norm's output, all float16.
"""
import argparse
import json
import time

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader, dequantize

LAYERS = (3, 9, 15, 21, 27)


def rms(x, weight, eps=1e-5):
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def rotate(x, positions, base=100000.0):
    """RoPE on pairs (i, i + half) of [..., T, 64]; positions [..., T]."""
    half = x.shape[-1] // 2
    angle = positions[..., None].float() * base ** (-torch.arange(half) / half)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Target:
    def __init__(self, path):
        reader = GGUFReader(path)
        field = lambda name: reader.fields[f'llama.{name}'].contents()
        self.heads, self.kv_heads = field('attention.head_count'), field('attention.head_count_kv')
        tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).astype(np.float32)) for t in reader.tensors}
        self.embedding = tensors['token_embd.weight']
        self.norm = tensors['output_norm.weight']
        self.layers = [self._layer(tensors, i) for i in range(field('block_count'))]

    @staticmethod
    def read_embedding(path):
        (tensor,) = (t for t in GGUFReader(path).tensors if t.name == 'token_embd.weight')
        return torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).astype(np.float32))

    def _layer(self, tensors, i):
        get = lambda name: tensors[f'blk.{i}.{name}.weight']
        halves = lambda w, heads: w.view(heads, -1, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)  # GGUF stores pairs side by side
        qkv = torch.cat([halves(get('attn_q'), self.heads), halves(get('attn_k'), self.kv_heads), get('attn_v')])
        matrices = dict(qkv=qkv, o=get('attn_output'), gate_up=torch.cat([get('ffn_gate'), get('ffn_up')]), down=get('ffn_down'))
        return matrices | dict(n1=get('attn_norm'), n2=get('ffn_norm'))

    @torch.inference_mode()
    def __call__(self, ids):
        """[B, T] ids -> residual streams after LAYERS [B, T, len(LAYERS) * D], final norm's output [B, T, D]."""
        B, T = ids.shape
        x = self.embedding[ids].reshape(B * T, -1)
        positions, kept = torch.arange(T), []
        for i, layer in enumerate(self.layers):
            qkv = F.linear(rms(x, layer['n1']), layer['qkv']).view(B, T, -1, x.shape[1] // self.heads).transpose(1, 2)
            q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], 1)
            y = F.scaled_dot_product_attention(rotate(q, positions), rotate(k, positions), v, is_causal=True, enable_gqa=True)
            x = x + F.linear(y.transpose(1, 2).reshape(B * T, -1), layer['o'])
            gate, up = F.linear(rms(x, layer['n2']), layer['gate_up']).chunk(2, 1)
            x = x + F.linear(F.silu(gate) * up, layer['down'])
            if i + 1 in LAYERS:
                kept.append(x)
        return torch.cat(kept, 1).view(B, T, -1), rms(x, self.norm).view(B, T, -1)


def batches(sequences, rows):
    """Sequences of like length together, so that little is padding; at most `rows` rows a batch."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    while order:
        count = max(1, min(len(order), rows // len(sequences[order[min(len(order), 64) - 1]])))
        yield order[:count]
        order = order[count:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model')
    parser.add_argument('out')
    parser.add_argument('sequences', nargs='+')
    parser.add_argument('--limit', type=int, default=10**9)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    target = Target(args.model)
    records, total = [], 0
    for path in args.sequences:
        for line in open(path):
            record = json.loads(line)
            if total < args.limit:
                records.append(record)
                total += len(record['prompt']) + len(record['answer'])
    ids = [record['prompt'] + record['answer'] for record in records]
    starts = np.cumsum([0] + [len(s) for s in ids])
    width = target.embedding.shape[1]
    features = np.lib.format.open_memmap(f'{args.out}/features.npy', 'w+', np.float16, (total, len(LAYERS) * width))
    hidden = np.lib.format.open_memmap(f'{args.out}/hidden.npy', 'w+', np.float16, (total, width))
    done, began = 0, time.time()
    for batch in batches(ids, 2048):
        longest = max(len(ids[i]) for i in batch)
        f, h = target(torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in batch]))
        for row, i in enumerate(batch):
            n = len(ids[i])
            features[starts[i] : starts[i] + n] = f[row, :n].half().numpy()
            hidden[starts[i] : starts[i] + n] = h[row, :n].half().numpy()
            done += n
        print(f'\r{done} of {total} tokens, {done / (time.time() - began):.0f}/s', end='', flush=True)
    answers = [starts[i] + len(record['prompt']) for i, record in enumerate(records)]
    np.savez(f'{args.out}/text.npz', tokens=np.concatenate(ids).astype(np.int32), starts=starts, answers=np.array(answers),
             groups=np.array([record['group'] for record in records]))
    print()


if __name__ == '__main__':
    main()
