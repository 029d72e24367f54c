"""What cuBLASLt takes for the shapes of shapes.h, through PyTorch: python cublaslt.py [OUT.json [GPU.json]].

Keys: <card>.cublaslt.<format>.<N>x<K>.m<M>.us, and .tflops for M = 4096. bf16 is torch.mm, fp8 is torch._scaled_mm by one
scale a tensor. Weights are rotated through more than three times L2. With what `foretoken_gpu_bench kernels` wrote on the
same card also .share of fp8: cuBLASLt's seconds over those of our products by blocks.
"""
import json
import pathlib
import re
import sys

import torch

shapes = [tuple(map(int, pair)) for pair in re.findall(r'\{(\d+), (\d+)\}', pathlib.Path(__file__).with_name('shapes.h').read_text())]
tokens = (1, 2, 4, 8, 16, 32, 64, 128, 4096)
properties = torch.cuda.get_device_properties(0)
card = next((c.lower() for c in ('H100', 'H200', 'GB200', 'B200', 'B300') if c in properties.name), properties.name)


ours = json.loads(pathlib.Path(sys.argv[2]).read_text())['summary'] if len(sys.argv) > 2 else {}


def median_seconds(run, copies, repeats=30):
    times = []
    for i in range(repeats + 5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run(i % copies)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3)
    return sorted(times[5:])[repeats // 2]


def measure(kind, n, k, m):
    """Seconds of x [m, k] times weights [n, k] transposed."""
    size = 2 if kind == 'bf16' else 1
    copies = 3 * properties.L2_cache_size // (n * k * size) + 2
    weights = [torch.randn(n, k, device='cuda', dtype=torch.bfloat16) for _ in range(copies)]
    x = torch.randn(max(m, 16), k, device='cuda', dtype=torch.bfloat16)  # fp8 takes multiples of 16 rows
    if kind == 'bf16':
        return median_seconds(lambda i: torch.mm(x[:m], weights[i].t()), copies)
    one = torch.ones((), device='cuda')
    narrow, left = [w.to(torch.float8_e4m3fn) for w in weights], x.to(torch.float8_e4m3fn)
    return median_seconds(lambda i: torch._scaled_mm(left, narrow[i].t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16), copies)


summary = {}
for n, k in shapes:
    for kind in ('bf16', 'fp8'):
        for m in tokens:
            key = f'{card}.cublaslt.{kind}.{n}x{k}.m{m}'
            seconds = measure(kind, n, k, m)
            summary[f'{key}.us'] = seconds * 1e6
            if m == 4096:
                summary[f'{key}.tflops'] = 2e-12 * n * k * m / seconds
            product = 'prefill' if m == 4096 else 'skinny'
            own = ours.get(f'{card}.{product}.{kind}.{n}x{k}.m{m}.us')
            if own:
                summary[f'{key}.share'] = seconds * 1e6 / own
            print(key, f'{seconds * 1e6:.1f} us', f'share {seconds * 1e6 / own:.2f}' if own else '', flush=True)
if len(sys.argv) > 1:
    pathlib.Path(sys.argv[1]).write_text(json.dumps({'suite': 'cublaslt', 'card': properties.name, 'summary': summary}, indent=1))
