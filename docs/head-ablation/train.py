"""Trains one contender on captured hidden states and drafts at every position of the held-out answers.

    python train.py NAME OUT_FOLDER --data FOLDER... --heldout FOLDER --shape recurrent|block [--fused 0 2 4] [--vocab 8192] ...

Writes OUT_FOLDER/NAME.json (sizes, curve), NAME.safetensors (weights) and NAME.npz (for every position of the held-out answers: drafted tokens and
their probabilities, going on from what was drafted).
"""
import argparse
import json
import math
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

from heads import Block, Recurrent, gather
from target import LAYERS, Target, batches

DEPTH = 5  # drafted at evaluation by a recurrent head; a block is as long as it was trained to be


class Data:
    """Captured sequences of one or more folders."""

    def __init__(self, folders):
        self.parts = [(np.load(f'{f}/text.npz'), np.load(f'{f}/features.npy', 'r'), np.load(f'{f}/hidden.npy', 'r')) for f in folders]
        self.index = [(p, i) for p, (text, _, _) in enumerate(self.parts) for i in range(len(text['answers']))]
        self.text = [{k: text[k] for k in text.files} for text, _, _ in self.parts]

    def span(self, n):
        p, i = self.index[n]
        starts, answers = self.text[p]['starts'], self.text[p]['answers']
        return p, starts[i], starts[i + 1], answers[i]

    def tokens(self, n):
        p, start, end, _ = self.span(n)
        return self.text[p]['tokens'][start:end]

    def group(self, n):
        p, i = self.index[n]
        return str(self.text[p]['groups'][i])

    def batch(self, numbers):
        """tokens [B, T], features [B, T, layers, D], hidden [B, T, D], first answer index [B], length [B]."""
        spans = [self.span(n) for n in numbers]
        B, T = len(spans), max(end - start for _, start, end, _ in spans)
        width = self.parts[0][2].shape[1]
        tokens, features, hidden = torch.zeros(B, T, dtype=torch.long), torch.zeros(B, T, len(LAYERS), width), torch.zeros(B, T, width)
        for row, (p, start, end, _) in enumerate(spans):
            n = end - start
            tokens[row, :n] = torch.from_numpy(self.text[p]['tokens'][start:end].astype(np.int64))
            features[row, :n] = torch.from_numpy(self.parts[p][1][start:end].astype(np.float32)).view(n, len(LAYERS), width)
            hidden[row, :n] = torch.from_numpy(self.parts[p][2][start:end].astype(np.float32))
        first = torch.tensor([int(answer - start) for _, start, _, answer in spans])
        return tokens, features, hidden, first, torch.tensor([int(end - start) for _, start, end, _ in spans])


def pick_anchors(first, length, share):
    """Random anchors [B, A] and which of them count: i + 1 is a token of the answer, and i + 2 is there to be predicted."""
    B, T = len(length), int(length.max())
    allowed = (torch.arange(T) >= first[:, None] - 1) & (torch.arange(T) < length[:, None] - 1)
    order = (torch.rand(B, T) + ~allowed * 2).argsort(1)
    count = max(1, math.ceil(share * int(allowed.sum(1).max())))
    anchors = order[:, :count].sort(1).values
    return anchors, gather(allowed, anchors)


def loss_of(head, batch, share, depth, decay):
    """Forward KL, up to the target's entropy, on the draft vocabulary; the label of depth j is what the target says after x_{i+1+j}."""
    tokens, features, hidden, first, length = batch
    T = tokens.shape[1]
    after = F.pad(tokens[:, 1:], (0, 1))
    anchors, counted = pick_anchors(first, length, share)
    given = torch.stack([gather(tokens, (anchors + 2 + j).clamp(max=T - 1)) for j in range(depth)], -1)
    with torch.no_grad():
        labels = F.linear(hidden, head.output).softmax(-1)
    total, weights, hits = 0.0, 0.0, []
    for j, logits in enumerate(head.draft(features, after, anchors, depth, given)):
        ok = counted & (anchors + 1 + j < length[:, None])
        p = gather(labels, (anchors + 1 + j).clamp(max=T - 1))[ok]
        q = logits[ok]
        total = total + decay**j * (q.logsumexp(-1) - (p * q).sum(-1)).sum()
        weights += decay**j * int(ok.sum())
        hits.append((q.argmax(-1) == p.argmax(-1)).float().mean().item())
    return total / weights, hits


@torch.inference_mode()
def draft_everywhere(head, data, depth, every=1):
    """For every position of every answer: drafts [N, depth], probabilities, how many of them are right; and the number of the answer."""
    rows = dict(answer=[], position=[], draft=[], probability=[], right=[])
    for n in range(0, len(data.index), every):
        tokens, features, _, first, length = data.batch([n])
        anchors = torch.arange(int(first) - 1, int(length) - 1)[None]
        drafts, chances = [], []
        for logits in head.draft(features, F.pad(tokens[:, 1:], (0, 1)), anchors, depth):
            best = logits[0].softmax(-1).max(-1)
            drafts.append(head.draft_ids[best.indices])
            chances.append(best.values)
        draft = torch.stack(drafts, -1)
        truth = torch.stack([F.pad(tokens[0], (0, depth), value=-1)[anchors[0] + 2 + j] for j in range(depth)], -1)
        rows['answer'].append(np.full(len(draft), n))
        rows['position'].append(anchors[0].numpy())
        rows['draft'].append(draft.numpy())
        rows['probability'].append(torch.stack(chances, -1).numpy())
        rows['right'].append((draft == truth).long().cumprod(-1).sum(-1).numpy())
    return {k: np.concatenate(v) for k, v in rows.items()}


def acceptance_length(drafts, depth=DEPTH):
    """Tokens a pass when every round drafts `depth` tokens, replayed on the answers."""
    tokens = rounds = 0
    for n in np.unique(drafts['answer']):
        right, at = drafts['right'][drafts['answer'] == n], 0
        while at < len(right) - 1:
            got = min(int(right[at]), depth, len(right) - 1 - at) + 1
            tokens, rounds, at = tokens + got, rounds + 1, at + got
    return tokens / rounds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('name')
    parser.add_argument('out')
    parser.add_argument('--model', required=True)
    parser.add_argument('--data', nargs='+', required=True)
    parser.add_argument('--heldout', required=True)
    parser.add_argument('--shape', choices=['recurrent', 'block'], required=True)
    parser.add_argument('--fused', type=int, nargs='+', default=[0, 2, 4], help='indices into target.LAYERS')
    parser.add_argument('--vocab', type=int, default=8192)
    parser.add_argument('--layers', type=int, default=1)
    parser.add_argument('--rank', type=int, default=32)
    parser.add_argument('--depth', type=int, default=4, help='unrolled depths, or slots of a block')
    parser.add_argument('--share', type=float, default=0.6, help='share of positions that are anchors, drawn anew in every epoch')
    parser.add_argument('--decay', type=float, default=0.8)
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--rate', type=float, default=1.5e-3)
    parser.add_argument('--rows', type=int, default=768, help='positions a step')
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    data, heldout = Data(args.data), Data([args.heldout])
    counts = np.bincount(np.concatenate([data.tokens(n) for n in range(len(data.index))]), minlength=49152)
    draft_ids = torch.from_numpy(np.sort(np.argsort(-counts, kind='stable')[: args.vocab]))
    scale = float(np.sqrt(np.mean(np.square(data.parts[0][2][:4096].astype(np.float32)))))
    head = {'recurrent': Recurrent, 'block': Block}[args.shape](
        Target.read_embedding(args.model), draft_ids, args.fused, scale, layers=args.layers, rank=args.rank, slots=args.depth)
    answers = np.concatenate([heldout.tokens(n)[heldout.span(n)[3] - heldout.span(n)[1] :] for n in range(len(heldout.index))])
    paths = ('name', 'out', 'model', 'data', 'heldout')
    report = dict(options={k: v for k, v in vars(args).items() if k not in paths}, labels=sum(len(data.tokens(n)) for n in range(len(data.index))),
                  parameters=sum(p.numel() for p in head.parameters()), costs=head.costs(),
                  coverage=float(np.isin(answers, draft_ids.numpy()).mean()), curve=[])
    drafted = args.depth if args.shape == 'block' else DEPTH
    optimizer = torch.optim.AdamW(head.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    steps = [b for epoch in range(args.epochs) for b in np.random.default_rng(epoch).permutation(
        np.array([list(b) for b in batches([data.tokens(n) for n in range(len(data.index))], args.rows)], dtype=object))]
    began, spent, recent = time.time(), time.process_time(), []
    for step, numbers in enumerate(steps):
        loss, hits = loss_of(head, data.batch(numbers), args.share, args.depth, args.decay)
        loss.backward()
        done = step / len(steps)
        for group in optimizer.param_groups:
            group['lr'] = args.rate * min(1, (step + 1) / 20) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append([loss.item(), *hits])
        if (step + 1) % max(1, len(steps) // 4) == 0:
            mean = np.mean(recent, 0)
            recent = []
            drafts = draft_everywhere(head, heldout, drafted, every=8)
            report['curve'].append(dict(step=step + 1, loss=mean[0], hits=list(mean[1:]), acceptanceLength=acceptance_length(drafts),
                                        cpuSeconds=time.process_time() - spent))
            print(args.name, step + 1, 'of', len(steps), json.dumps(report['curve'][-1]), f'{time.time() - began:.0f} s', flush=True)
    drafts = draft_everywhere(head, heldout, drafted)
    report |= dict(acceptanceLength=acceptance_length(drafts), cpuSeconds=time.process_time() - spent)
    print(args.name, report['acceptanceLength'], flush=True)
    np.savez(f'{args.out}/{args.name}.npz', **drafts)
    save_file({k: v.contiguous() for k, v in head.state_dict().items()}, f'{args.out}/{args.name}.safetensors')
    json.dump(report, open(f'{args.out}/{args.name}.json', 'w'), indent=1)


if __name__ == '__main__':
    main()
