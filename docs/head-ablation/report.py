"""Tables (to standard output) and curves.svg from the file that simulate.py wrote: python report.py ablation.json curves.svg"""
import json
import sys

COLOURS = ('#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e')


def table(head, rows):
    lines = [head, ['---'] + ['---:'] * (len(head) - 1), *rows]
    print('\n'.join('| ' + ' | '.join(line) + ' |' for line in lines), end='\n\n')


def panel(x, title, lines, low, high, names):
    """Lines [(points, colour index)] of (x, y); the x axis starts at 0."""
    width, height, right = 300, 200, max(p[0] for points, _ in lines for p in points)
    place = lambda p: f'{x + p[0] / right * width:.1f},{30 + height - (p[1] - low) / (high - low) * height:.1f}'
    parts = [f'<text x="{x}" y="20">{title}</text>', f'<path d="M{x} 30V{30 + height}H{x + width}" stroke="#888" fill="none"/>',
             f'<text x="{x - 6}" y="38" text-anchor="end">{high:.3g}</text>', f'<text x="{x - 6}" y="{30 + height}" text-anchor="end">{low:.3g}</text>',
             f'<text x="{x + width}" y="{46 + height}" text-anchor="end">{right:g}</text>']
    for points, i in lines:
        places = [place(p) for p in points]
        parts.append(f'<polyline points="{" ".join(places)}" stroke="{COLOURS[i % 5]}" fill="none" stroke-width="2"/>')
        parts += ['<circle cx="{}" cy="{}" r="3" fill="{}"/>'.format(*p.split(','), COLOURS[i % 5]) for p in places]
    parts += [f'<text x="{x + 8}" y="{60 + height + 14 * i}" fill="{COLOURS[i % 5]}">{n}</text>' for i, n in enumerate(names)]
    return parts


def main(path, svg):
    results = json.load(open(path))
    recall, every = results['recall'], {n: r for n, r in results.items() if n != 'recall'}
    heads = {n: r for n, r in every.items() if 'alone' in r}  # those that were trained to the end
    number = lambda v: f'{v:.3f}'
    table(['contender', 'weights trained', 'context row', 'round', 'drafted token', 'acceptance length, all drafted', 'speed alone', 'speed with recall',
           'acceptance length with recall'],
          [['recall', '', '', '', '', '', '', number(recall['speedup']), number(recall['acceptanceLength'])]] +
          [[n, f"{r['parameters'] / 1e6:.2f} M", *(f"{r['costs'][c] / 1e6:.2f} M" for c in ('context', 'block', 'step')), number(r['acceptanceLength']),
            *(number(r[k]['speedup']) for k in ('alone', 'withRecall')), number(r['withRecall']['acceptanceLength'])] for n, r in heads.items()])
    table(['group', 'recall'] + [f'{n} {k}' for n in heads for k in ('alone', 'with recall')],
          [[g, f"{v['speedup']:.2f} / {v['acceptanceLength']:.2f}"] +
           [f"{r[k]['groups'][g]['speedup']:.2f} / {r[k]['groups'][g]['acceptanceLength']:.2f}" for r in heads.values() for k in ('alone', 'withRecall')]
           for g, v in recall['groups'].items()])
    table(['right at least so many'] + [str(k + 1) for k in range(5)], [[n] + [f'{v:.3f}' for v in r['rightByDepth']] for n, r in heads.items()])
    curves = [(r['curve'], i) for i, r in enumerate(every.values())]
    losses = [[(p['step'], p['loss']) for p in c] for c, _ in curves]
    lengths = [[(p['step'], p['acceptanceLength']) for p in c] for c, _ in curves]
    parts = panel(60, 'training loss by step', [(l, i) for i, l in enumerate(losses)], 0, max(p[1] for l in losses for p in l), every)
    parts += panel(440, 'acceptance length by step, some held-out answers', [(l, i) for i, l in enumerate(lengths)], 1, max(p[1] for l in lengths for p in l), every)
    parts += panel(820, 'held-out positions where so many drafted tokens are right',
                   [([(k + 1, v) for k, v in enumerate(r['rightByDepth'])], i) for i, r in enumerate(heads.values())], 0, 0.5, heads)
    open(svg, 'w').write(f'<svg xmlns="http://www.w3.org/2000/svg" width="1180" height="{270 + 14 * len(every)}" font-family="sans-serif" font-size="11">'
                         '<rect width="100%" height="100%" fill="white"/>' + ''.join(parts) + '</svg>\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
