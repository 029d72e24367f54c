# Barriers: strips that fold at the same time, and a fold before the running sums are cleared.
mutant(attention fold-without-barrier cuda/attention/attend.cuh [[      if (warp == turn) split.fold(strip, a.kv.headDim);
      __syncthreads();]] [[      if (warp == turn) split.fold(strip, a.kv.headDim);]])
mutant(attention queries-without-barrier cuda/attention/attend.cuh [[    split.clear();
    __syncthreads();]] [[    split.clear();]])
# Indices: a row that sees the position behind its own, a value from a neighbour's place, an ancestor too far up.
mutant(attention sees-the-next cuda/attention/attend.cuh [[lane_ % 4 * 2 + j >= length)]] [[lane_ % 4 * 2 + j > length)]])
mutant(attention value-of-neighbour cuda/attention/attend.cuh [[highBlock[elementIndex(n, high % kPageSize)])]]
  [[highBlock[elementIndex(n, low % kPageSize)])]])
mutant(attention wrong-ancestor cuda/attention/attend.cuh [[for (; k > 0; --k) word]] [[for (; k > 1; --k) word]])
# Bits: the place of a strip's sums would depend on how many blocks share the splits.
mutant(attention folds-backwards cuda/attention/attend.cuh [[    const float* const from = partials + static_cast<size_t>(s) * stride;]]
  [[    const float* const from = partials + static_cast<size_t>(splits - 1 - s) * stride;]])
# Formats: the power of two of another position.
mutant(attention exponent-of-page cuda/attention/attend.cuh [[(ofKey ? 0 : kPageSize) + from % kPageSize]]
  [[(ofKey ? 0 : kPageSize)]])
