mutant(step moves-out-of-order cuda/step/compact.cuh [[    for (int i = 0; i < a.count; ++i) {
      const int from = a.from[i], to = a.to[i];
      const auto *keys]] [[    for (int i = a.count - 1; i >= 0; --i) {
      const int from = a.from[i], to = a.to[i];
      const auto *keys]])
mutant(step kept-from-next cuda/step/rows.cuh [[const auto* const from = reinterpret_cast<const uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset);]]
  [[const auto* const from = reinterpret_cast<const uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset) + 1;]])
mutant(step mean-of-a-warp cuda/step/norm.cuh [[sqrtf(blockReduce(sum, scratch, kNormThreads / kWarp, Sum{})]]
  [[sqrtf(warpReduce(sum, Sum{})]])
mutant(step query-taken-for-key cuda/step/heads.cuh [[rules.of(head, a.heads,]] [[rules.of(head, a.heads - 1,]])
mutant(step values-normalised cuda/step/heads.cuh [[a.heads, a.kvHeads, a.headDim)]] [[a.heads, 2 * a.kvHeads, a.headDim)]])
mutant(step mean-before-bias cuda/step/heads.cuh [[    if (bias) x[d] += bias[d];
    sum = fmaf(x[d], x[d], sum);]] [[    sum = fmaf(x[d], x[d], sum);
    if (bias) x[d] += bias[d];]])
mutant(step scale-of-other-half cuda/gemm/element.cuh [[p.g * 32 + p.t / 2 * 16 + p.group * 2 + p.half]]
  [[p.g * 32 + p.t / 2 * 16 + p.group * 2]])
mutant(step scale-of-a-lane cuda/gemm/quantize.cuh [[  largest = warpReduce(largest, Max{});
]] [[]])
mutant(step rows-behind-the-last cuda/step/norm.cuh [[return any_ && k < width_ ?]] [[return k < width_ ?]])
