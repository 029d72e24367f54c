"""Inputs and outputs of one forward and one backward pass of a block-parallel head, for checks of other implementations.

    python golden.py OUT.safetensors [MODEL.gguf HEAD.safetensors HELDOUT_FOLDER]

Without a model: a tiny random head (width 64, 4 heads, 2 KV heads, inner 96, 100 tokens, 40 of them drafted), its weights in the file too.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from heads import Block, Shape, gather
from target import Target
from train import Data, loss_of


def tiny():
    torch.manual_seed(0)
    shape, embedding = Shape(64, 4, 2, 96), torch.randn(100, 64)
    head = Block(embedding, torch.arange(3, 83, 2), [0, 1], 1.0, shape=shape, rank=8, slots=4)
    for p in head.parameters():
        p.data += 0.1 * torch.randn_like(p) if p.ndim == 1 else 0.2 * torch.randn_like(p)
    tokens = torch.randint(0, 100, (1, 14))
    return head, (tokens, torch.randn(1, 14, 2, 64), torch.randn(1, 14, 64) * 0.3, torch.tensor([3]), torch.tensor([14]))


def trained(model, path, heldout):
    weights = load_file(path)
    layers = len({name.split('.')[1] for name in weights if name.startswith('layers.')})
    fused = [0, 2, 4] if weights['fc.weight'].shape[1] == 3 * 576 else sys.exit('golden.py knows heads of three fused layers')
    head = Block(Target.read_embedding(model), weights['draft_ids'], fused, 1.0, layers=layers,
                 rank=weights['after'].shape[1], slots=len(weights['mask']) + 1)
    head.load_state_dict(weights)
    tokens, features, hidden, first, length = Data([heldout]).batch([0])
    cut = int(first) + 12
    return head, (tokens[:, :cut], features[:, :cut], hidden[:, :cut], first, torch.tensor([cut]))


def main(out, *model):
    head, batch = trained(*model) if model else tiny()
    tokens, features, hidden, first, length = batch
    after, slots = F.pad(tokens[:, 1:], (0, 1)), head.slots
    anchors = torch.tensor([[int(first), int(first) + 1, int(first) + 4]])
    golden = dict(tokens=tokens, features=features[:, :, head.fused], target_hidden=hidden, anchors=anchors)
    with torch.no_grad():
        g = head.fuse(features)
        h = head.context_norm(g)
        golden |= dict(g=g, h=h)
        for i, layer in enumerate(head.layers):
            k, v = layer.attention.keys(h, torch.arange(h.shape[1])[None])
            golden |= {f'context.{i}.k': k, f'context.{i}.v': v}  # [1, KV, T, d], after RoPE
        x = head.hidden(features, after, anchors, slots)
        logits = torch.stack(list(head.draft(features, after, anchors, slots)), 2)
        best = logits.softmax(-1).max(-1)
        golden |= dict(rows=x, raw_logits=head.logits(x), draft=head.draft_ids[best.indices], confidence=best.values)
    head.zero_grad()
    torch.manual_seed(1)
    loss, _ = loss_of(head, batch, 1.0, slots, 0.8)  # every position of the answer is an anchor
    loss.backward()
    golden |= {'loss': loss.detach()[None]} | {f'gradient.{n}': p.grad for n, p in head.named_parameters()}
    if not model:
        golden |= {f'weight.{n}': t for n, t in head.state_dict().items()} | {'embedding': head.embedding}
    save_file({n: t.contiguous() for n, t in golden.items()}, out)
    print(out, {n: list(t.shape) for n, t in golden.items() if not n.startswith(('gradient', 'weight'))}, float(loss))


if __name__ == '__main__':
    main(*sys.argv[1:])
