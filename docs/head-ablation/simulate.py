"""Seconds per emitted token of each contender beside recall, replayed on the held-out answers.

    python simulate.py RECALL.npz HELDOUT_FOLDER RESULTS_FOLDER NAME...

The unit is one target pass of one row. A pass of r rows over w weights costs w / 134.5 M * (1 + 0.0357 (r - 1)), the target's and the
head's alike; recall costs nothing. Confidences are calibrated, and lengths and drafters chosen by expected tokens less price * cost,
price = tokens per second reached; all fitted on one half of the answers and used on the other, both ways round.
"""
import json
import sys

import numpy as np

from train import Data

TARGET, ROW = 134.5e6, 0.0357
BINS = 12


def passes(weights, rows):
    return weights / TARGET * (1 + ROW * (np.maximum(rows, 1) - 1))


class Calibration:
    """P(right | the ones before it were), by depth (1, 2, 3 and more) and confidence; and the same of the next one, before it is drafted."""

    def __init__(self, confidence, right, drafted):
        N, K = confidence.shape
        self.here, self.next = np.ones((3, BINS, 2)), np.ones((3, BINS, 2))
        for k in range(K):
            reached, d = (right >= k) & (drafted > k), min(k, 2)
            for table, mask, hit, source in ((self.here, reached, right > k, confidence[:, k]),
                                             (self.next, (right > k) & (drafted > k + 1), right > k + 1, confidence[:, k])):
                bins = self.bin(source[mask])
                np.add.at(table[d], (bins, 0), hit[mask])
                np.add.at(table[d], (bins, 1), 1)

    @staticmethod
    def bin(confidence):
        return np.clip((confidence * BINS).astype(int), 0, BINS - 1)

    def survival(self, confidence):
        K = confidence.shape[1]
        rates = self.here[..., 0] / (self.here[..., 1] + 1)
        return np.cumprod([rates[min(k, 2), self.bin(confidence[:, k])] for k in range(K)], 0).T

    def following(self, confidence):
        rates = self.next[..., 0] / (self.next[..., 1] + 1)
        return np.stack([rates[min(k, 2), self.bin(confidence[:, k])] for k in range(confidence.shape[1])], 1)


def best_length(survival, price_of_token):
    """Rows worth their price, and what they bring less it."""
    gains = np.concatenate([np.zeros((len(survival), 1)), np.cumsum(survival - price_of_token, 1)], 1)
    return gains.argmax(1), gains.max(1)


def plan_recall(recall, calibration, price):
    survival = calibration.survival(recall['share']) * (recall['draft'] >= 0)
    return best_length(survival, price * ROW)


def plan_head(head, calibration, costs, price):
    """Rows to verify, gain before the head's own cost, and that cost."""
    survival = calibration.survival(head['probability'])
    N, K = survival.shape
    if costs['step'] == 0:
        length, gain = best_length(survival, price * ROW)
        return length, gain, np.full(N, passes(costs['block'], K))
    step = passes(costs['step'], 1)
    hope = survival * calibration.following(head['probability'])
    on = np.cumprod(hope[:, :-1] > price * (step + ROW), 1)
    drafted = 1 + on.sum(1)
    survival = survival * (np.arange(K) < drafted[:, None])
    length, gain = best_length(survival, price * ROW)
    return length, gain, drafted * step


class Chooser:
    """Whether the head is worth asking, from what recall promises: the mean over past positions of like promise."""

    def __init__(self, promise, gain, cost, price):
        self.edges = np.unique(np.quantile(promise, np.linspace(0, 1, 9)[1:-1]))
        bins = np.searchsorted(self.edges, promise)
        better = np.maximum(promise, gain) - price * cost - promise
        self.ask = np.array([better[bins == b].mean() if (bins == b).any() else -1 for b in range(len(self.edges) + 1)]) > 0

    def __call__(self, promise):
        return self.ask[np.searchsorted(self.edges, promise)]


def replay(answers, right, length, cost, asked, context, groups):
    """Rounds of every answer from its first position; sums of tokens, rounds and passes by group. The head catches up with the context when it
    is asked, all positions since the last time in one pass."""
    sums = {}
    for n in np.unique(answers):
        rows = np.flatnonzero(answers == n)
        at, behind, total = 0, 0, np.zeros(3)
        while at < len(rows) - 1:
            i = rows[at]
            if asked[i] and behind:
                total[2] += passes(context, behind)
                behind = 0
            got = min(right[i], length[i], len(rows) - 1 - at) + 1
            total += [got, 1, cost[i]]
            at, behind = at + got, behind + got
        sums[groups[n]] = sums.get(groups[n], np.zeros(3)) + total
    return sums


def run(recall, head, costs, groups, use_recall, use_head):
    answers, sums = recall['answer'], {}
    for fold in (0, 1):
        fit, use = answers % 2 != fold, answers % 2 == fold
        pick = lambda rows, mask: {k: v[mask] for k, v in rows.items()}
        recall_calibration = Calibration(recall['share'][fit], recall['right'][fit], (recall['draft'][fit] >= 0).sum(1))
        head_calibration = head and Calibration(head['probability'][fit], head['right'][fit], np.full(fit.sum(), head['draft'].shape[1]))
        price = 1.5
        for mask in (fit, fit, fit, use):
            r = pick(recall, mask)
            length, promise = plan_recall(r, recall_calibration, price)
            if not use_recall:
                length, promise = length * 0, promise * 0
            right, cost, asked = np.minimum(r['right'], length), 1 + ROW * length, np.zeros(len(length), bool)
            if use_head:
                h = pick(head, mask)
                hl, gain, own = plan_head(h, head_calibration, costs, price)
                if mask is fit:
                    chooser = Chooser(promise, gain, own + passes(costs['context'], 2), price)
                asked = chooser(promise)
                head_wins = asked & (gain > promise)
                right = np.where(head_wins, h['right'], right)
                length = np.where(head_wins, hl, length)
                cost = 1 + ROW * length + asked * own
            part = replay(answers[mask], right, length, cost, asked, costs['context'], groups)
            total = sum(part.values())
            if mask is fit:
                price = total[0] / total[2]
        for group, values in part.items():
            sums[group] = sums.get(group, np.zeros(3)) + values
    return sums


def as_block(head, costs, lost):
    """A recurrent head's drafts at the price of a block, with a share of its right tokens after the first made wrong: how much worse may a
    block be? The query reads the features alone, so it is half as wide, and one more matrix adds them to every row."""
    K = head['draft'].shape[1]
    fails = np.random.default_rng(0).random((len(head['right']), K)) < lost
    fails[:, 0] = False
    first = np.where(fails.any(1), fails.argmax(1), K)
    block = costs['step'] - 2 * 192 * 576  # keys and values of half the width; query's other half pays for the added features
    return dict(head, right=np.minimum(head['right'], first)), dict(context=costs['context'] - 2 * 192 * 576, block=block, step=0)


def summary(sums):
    rows = {g: dict(acceptanceLength=v[0] / v[1], passesPerToken=v[2] / v[0], speedup=v[0] / v[2]) for g, v in sorted(sums.items())}
    v = sum(sums.values())
    return dict(acceptanceLength=v[0] / v[1], passesPerToken=v[2] / v[0], speedup=v[0] / v[2], groups=rows)


def main(recall_path, heldout, folder, *names):
    recall = dict(np.load(recall_path))
    data = Data([heldout])
    groups = [data.group(n) for n in range(len(data.index))]
    nothing = dict(context=0, block=0, step=0)
    results = dict(recall=summary(run(recall, None, nothing, groups, True, False)))
    for name in names:
        head, report = dict(np.load(f'{folder}/{name}.npz')), json.load(open(f'{folder}/{name}.json'))
        assert (head['answer'] == recall['answer']).all() and (head['position'] == recall['position']).all()
        results[name] = dict(report, alone=summary(run(recall, head, report['costs'], groups, False, True)),
                             withRecall=summary(run(recall, head, report['costs'], groups, True, True)),
                             asBlock=[dict(lost=lost, **{k: summary(run(recall, *as_block(head, report['costs'], lost), groups, k == 'withRecall', True))['speedup']
                                                         for k in ('alone', 'withRecall')}) for lost in (0, 0.1, 0.2, 0.3, 0.5, 1)] if report['costs']['step'] else None,
                             rightByDepth=[float((head['right'] > k).mean()) for k in range(head['draft'].shape[1])])
    json.dump(results, open(f'{folder}/simulated.json', 'w'), indent=1)
    for name, result in results.items():
        parts = [result] if name == 'recall' else [result['alone'], result['withRecall']]
        print(f'{name:12}', *(f"AL {p['acceptanceLength']:.3f} speed {p['speedup']:.3f}" for p in parts), [{k: round(float(v), 3) for k, v in r.items()} for r in result.get('asBlock') or []])


if __name__ == '__main__':
    main(*sys.argv[1:])
