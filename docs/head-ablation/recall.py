"""What the `recall` drafter would say at every position of the held-out answers: own text and the shipped memory, one chain.

    python recall.py HELDOUT_FOLDER MEMORY.safetensors OUT.npz

As native/speculate/recall.cc does it, without the second question by letters and without trees.
"""
import sys

import numpy as np
from safetensors.numpy import load_file

from train import Data
from target import LAYERS

SCAN, VOTERS, DEPTH, WIDTH = 1024, 32, 12, 64


def signs(width):
    z = np.arange(1, width * WIDTH + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.where(z >> np.uint64(63), -1.0, 1.0).reshape(width, WIDTH).astype(np.float32)


def directions(features):
    """Late residual streams [N, D] on the projection, before the common part is taken off."""
    return features @ signs(features.shape[1]) / np.linalg.norm(features, axis=1, keepdims=True)


def normalised(p):
    return p / np.linalg.norm(p, axis=1, keepdims=True)


def index_by_token(tokens):
    order = np.argsort(tokens, kind='stable')
    values, begin = np.unique(tokens[order], return_index=True)
    return {int(v): part for v, part in zip(values, np.split(order, begin[1:]))}


def vote(places, scores, text, limit):
    """Chain of tokens and the share of each; `limit`: end of the text known at each place."""
    weights = np.exp(10 * (scores - 1))
    tokens, shares = [], []
    for depth in range(1, DEPTH + 1):
        inside = places + depth < limit
        following = np.where(inside, text[np.minimum(places + depth, len(text) - 1)], -1)
        alive = following >= 0
        if not alive.any():
            break
        best, total = None, 0.05 + weights[alive].sum()
        for token in np.unique(following[alive]):
            weight = weights[following == token].sum()
            if best is None or weight > best[0]:
                best = weight, token
        tokens.append(int(best[1]))
        shares.append(best[0] / total)
        keep = following == best[1]
        places, weights, limit = places[keep], weights[keep], limit[keep]
    return tokens, shares


def main(folder, memory, out):
    data, stored = Data([folder]), load_file(memory)
    codes = stored['keys'][:, :, None] >> np.array([0, 2, 4, 6]) & 3  # of two bits, see native/speculate/packed_key.h
    levels = np.array([-1.53, -0.46, 0.46, 1.53], np.float32)
    text, keys = stored['tokens'], normalised(levels[codes].reshape(len(codes), -1))
    latest = index_by_token(text)
    late = data.parts[0][1][:, -576:].astype(np.float32)
    projected = directions(late)
    projected = normalised(projected - projected.mean(0))
    rows = dict(answer=[], position=[], draft=[], share=[], right=[])
    for n in range(len(data.index)):
        _, start, end, answer = data.span(n)
        own, mine = data.tokens(n).astype(np.int32), projected[start:end]
        both, every = np.concatenate([text, own]), np.concatenate([keys, mine])
        for i in range(answer - start - 1, end - start - 1):
            token = own[i + 1]
            near = np.flatnonzero(own[1 : i + 1] == token) + 1 + len(text)
            places = np.concatenate([near, latest.get(int(token), np.empty(0, np.int64))[::-1]])[:SCAN]
            places = places[(places > 0)]
            limit = np.where(places >= len(text), len(text) + i + 2, len(text))
            places, limit = places[places + 1 < limit], limit[places + 1 < limit]
            tokens, shares = [], []
            if len(places):
                scores = every[places - 1] @ mine[i]
                top = np.argsort(-scores, kind='stable')[: 2 * VOTERS]
                places, limit, scores = places[top], limit[top], scores[top]
                same, alive = np.zeros(len(places)), np.ones(len(places), bool)
                for back in range(1, min(8, i + 1) + 1):
                    alive &= (places - back >= 0) & (both[places - back] == own[i + 1 - back])
                    same += alive
                scores = scores + 0.04 * same
                top = np.argsort(-scores, kind='stable')[:VOTERS]
                tokens, shares = vote(places[top], scores[top], both, limit[top])
            right = 0
            while right < len(tokens) and i + 2 + right < len(own) and own[i + 2 + right] == tokens[right]:
                right += 1
            pad = DEPTH - len(tokens)
            rows['answer'].append(n)
            rows['position'].append(i)
            rows['draft'].append(tokens + [-1] * pad)
            rows['share'].append(shares + [0.0] * pad)
            rows['right'].append(right)
    np.savez(out, **{k: np.array(v) for k, v in rows.items()})


if __name__ == '__main__':
    main(*sys.argv[1:])
