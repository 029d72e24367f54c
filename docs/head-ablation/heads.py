"""The two contenders. Index i is the last position that the target has computed; its feature f_i and the token x_{i+1} that it then
said are known; a draft begins with x_{i+2}. Context keys and values come from every position <= i, queries only from anchors.

Both: g = fc([norm_l(f_l) for each fused layer l]), the target's embedding in and (rows of the draft vocabulary) out, RoPE, grouped KV.
"""
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from target import rms, rotate


@dataclass
class Shape:
    """Widths of the target, which a head shares."""

    width: int = 576
    heads: int = 9
    kv_heads: int = 3
    inner: int = 1536


class Norm(nn.Module):
    def __init__(self, width, value=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), float(value)))

    def forward(self, x):
        return rms(x, self.weight)


def linear(inputs, outputs, scale=1.0):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=scale * inputs**-0.5)
    return layer


def gather(x, index):
    """x [B, T, ...], index [B, A] -> [B, A, ...]."""
    return x[torch.arange(len(x))[:, None], index]


class Attention(nn.Module):
    """Queries of anchors over context up to the anchor and over the anchor's own drafted rows."""

    def __init__(self, inputs, shape):
        super().__init__()
        self.kv_heads, self.groups, self.each = shape.kv_heads, shape.heads // shape.kv_heads, shape.width // shape.heads
        self.q, self.o = linear(inputs, shape.width), linear(shape.width, shape.width, 0.0)
        self.k, self.v = linear(inputs, self.kv_heads * self.each), linear(inputs, self.kv_heads * self.each)

    def keys(self, x, positions):
        """x [B, N, inputs] -> k, v [B, KV, N, width of a head]."""
        split = lambda y: y.unflatten(-1, (self.kv_heads, self.each)).transpose(1, 2)
        return rotate(split(self.k(x)), positions[:, None]), split(self.v(x))

    def forward(self, x, positions, context, own, anchors):
        """x [B, A, S, inputs], positions [B, A, S]; context k, v [B, KV, T, d]; own k, v [B, KV, A, R, d]: row s sees the first
        R - S + s + 1 of R; anchors [B, A]."""
        B, A, S, _ = x.shape
        q = self.q(x).view(B, A, S, self.kv_heads, self.groups, self.each).permute(0, 3, 4, 1, 2, 5)
        q = rotate(q, positions[:, None, None]) * self.each**-0.5
        T = context[0].shape[2]
        wide = torch.einsum('bhnd,bhtd->bhnt', q.flatten(2, 4), context[0]).unflatten(2, (self.groups, A, S))
        unseen = torch.arange(T) > anchors[..., None]
        wide = wide.masked_fill(unseen[:, None, None, :, None], -1e9)
        parts = [wide]
        if own is not None:
            R = own[0].shape[3]
            near = torch.einsum('bhgasd,bhard->bhgasr', q, own[0])
            parts.append(near.masked_fill(torch.arange(R) > torch.arange(R - S, R)[:, None], -1e9))
        weights = torch.cat(parts, -1).softmax(-1)
        y = torch.einsum('bhnt,bhtd->bhnd', weights[..., :T].flatten(2, 4), context[1]).unflatten(2, (self.groups, A, S))
        if own is not None:
            y = y + torch.einsum('bhgasr,bhard->bhgasd', weights[..., T:], own[1])
        return self.o(y.permute(0, 3, 4, 1, 2, 5).flatten(3))


class Mlp(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate, self.up = linear(shape.width, shape.inner), linear(shape.width, shape.inner)
        self.down = linear(shape.inner, shape.width, 0.0)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Head(nn.Module):
    """What both share: fusion in, draft vocabulary out. The embedding is the target's and is not trained."""

    def __init__(self, embedding, draft_ids, fused, output_scale):
        super().__init__()
        width = embedding.shape[1]
        self.fused = fused
        self.register_buffer('embedding', embedding, persistent=False)
        self.register_buffer('draft_ids', draft_ids)
        self.register_buffer('output', embedding[draft_ids].clone(), persistent=False)
        self.feature_norms = nn.ModuleList(Norm(width) for _ in fused)
        self.fc = linear(len(fused) * width, width, 0.1)
        self.fc.weight.data[:, -width:] += torch.eye(width)
        self.output_norm = Norm(width, 0.25 * output_scale)

    def fuse(self, features):
        return self.fc(torch.cat([norm(features[..., l, :]) for norm, l in zip(self.feature_norms, self.fused)], -1))

    def logits(self, x):
        return F.linear(self.output_norm(x), self.output)


class Recurrent(Head):
    """EAGLE-3 class. Row input [norm(emb of the newest token), norm(g)]; the first g is the fused feature, later ones are the head's own
    residual stream of the row before."""

    def __init__(self, embedding, draft_ids, fused, output_scale, shape=Shape(), **_):
        super().__init__(embedding, draft_ids, fused, output_scale)
        width = shape.width
        self.token_norm, self.state_norm, self.mlp_norm = Norm(width), Norm(width), Norm(width)
        self.attention = Attention(2 * width, shape)
        self.mlp = Mlp(shape)

    def context(self, features, tokens):
        """What every computed position leaves behind, and its fused feature. tokens: the token after each position."""
        g = self.fuse(features)
        positions = torch.arange(g.shape[1])[None]
        return self.attention.keys(self._input(g, tokens), positions), g

    def _input(self, g, tokens):
        return torch.cat([self.token_norm(self.embedding[tokens]), self.state_norm(g)], -1)

    def draft(self, features, tokens, anchors, depth, given=None):
        """Logits [B, A, V] of each depth, one by one. tokens [B, T]: the token after each position. `given` [B, A, depth]: tokens to go on
        from (training); otherwise the likeliest."""
        context, fused = self.context(features, tokens)
        g, newest, own = gather(fused, anchors), gather(tokens, anchors), None
        for step in range(depth):
            x, positions = self._input(g, newest), anchors + step
            if step > 0:
                k, v = (t.unsqueeze(3) for t in self.attention.keys(x, positions))
                own = (k, v) if own is None else tuple(torch.cat(pair, 3) for pair in zip(own, (k, v)))
            g = g + self.attention(x[:, :, None], positions[..., None], context, own, anchors)[:, :, 0]
            g = g + self.mlp(self.mlp_norm(g))
            logits = self.logits(g)
            yield logits
            newest = self.draft_ids[logits.argmax(-1)] if given is None else given[..., step]

    def costs(self):
        """Weights touched by a computed position, by a round, by a drafted token."""
        per = lambda *modules: sum(p.numel() for m in modules for p in m.parameters() if p.ndim == 2)
        return dict(context=per(self.fc, self.attention.k, self.attention.v), block=0, step=per(self.attention, self.mlp) + self.output.numel())


class BlockLayer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.attention_norm, self.mlp_norm = Norm(shape.width), Norm(shape.width)
        self.attention, self.mlp = Attention(shape.width, shape), Mlp(shape)

    def forward(self, x, positions, context, anchors):
        """x [B, A, S, D]: rows of a block see the rows before them, so a shorter block is the start of a longer one."""
        B, A, S, _ = x.shape
        y = self.attention_norm(x)
        k, v = self.attention.keys(y.flatten(1, 2), positions.flatten(1))
        own = tuple(t.unflatten(2, (A, S)) for t in (k, v))
        x = x + self.attention(y, positions, context, own, anchors)
        return x + self.mlp(self.mlp_norm(x))


class Block(Head):
    """DSpark class. One pass for a whole block: the newest token and mask rows, each with the anchor's fused feature added; context keys and
    values from the fused features in every layer; then a low-rank Markov correction of the 16 likeliest of each slot, left to right."""

    candidates = 16

    def __init__(self, embedding, draft_ids, fused, output_scale, shape=Shape(), layers=1, rank=32, slots=6):
        super().__init__(embedding, draft_ids, fused, output_scale)
        width = shape.width
        self.slots = slots
        self.context_norm, self.token_norm = Norm(width), Norm(width, 0.1)  # small: at 1 a block begins by repeating its first token
        self.mask = nn.Parameter(0.1 * torch.randn(slots - 1, width))
        self.inject = linear(width, width, 0.0)
        self.inject.weight.data += torch.eye(width)
        self.layers = nn.ModuleList(BlockLayer(shape) for _ in range(layers))
        self.before = nn.Embedding(len(draft_ids) + 1, rank)  # the last row: any token outside the draft vocabulary
        self.after = nn.Parameter(torch.zeros(len(draft_ids), rank))
        self.before.weight.data.normal_(std=rank**-0.5)
        place = torch.full((len(embedding),), len(draft_ids))
        place[draft_ids] = torch.arange(len(draft_ids))
        self.register_buffer('place', place, persistent=False)

    def hidden(self, features, tokens, anchors, slots):
        g = self.fuse(features)
        h, every = self.context_norm(g), torch.arange(g.shape[1])[None]
        first = self.token_norm(self.embedding[gather(tokens, anchors)])[:, :, None]
        x = torch.cat([first, self.mask[: slots - 1].expand(*anchors.shape, slots - 1, -1)], 2)
        x = x + self.inject(gather(h, anchors))[:, :, None]
        positions = anchors[..., None] + 1 + torch.arange(slots)
        for layer in self.layers:
            x = layer(x, positions, layer.attention.keys(h, every), anchors)
        return x

    def draft(self, features, tokens, anchors, depth, given=None):
        x = self.hidden(features, tokens, anchors, depth)
        newest = self.place[gather(tokens, anchors)]
        for slot in range(depth):
            logits = self.logits(x[:, :, slot])
            bias = F.embedding(newest, self.before.weight)
            if given is not None:
                yield logits + bias @ self.after.t()
                newest = self.place[given[..., slot]]
                continue
            top = logits.topk(self.candidates)
            corrected = top.values + (self.after[top.indices] * bias[..., None, :]).sum(-1)
            logits = logits.scatter(-1, top.indices, corrected)
            yield logits
            newest = top.indices.gather(-1, corrected.argmax(-1, keepdim=True))[..., 0]

    def costs(self):
        per = lambda modules: sum(p.numel() for m in modules for p in m.parameters() if p.ndim == 2)
        kv = per([m for l in self.layers for m in (l.attention.k, l.attention.v)])
        return dict(context=self.fc.weight.numel() + kv, block=per(self.layers) + per([self.inject]) + self.output.numel(), step=0)
