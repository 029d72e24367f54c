set(kernel cuda/gemm/skinny.cuh)
mutant(skinny no-barrier-before-sum ${kernel} [[  __syncthreads();  // all warps' sums are there
]] "")
mutant(skinny rows-swapped-in-exchange ${kernel} [[g + i / 2 * 8, token]] [[g + i % 2 * 8, token]])
mutant(skinny next-chunk-too-early ${kernel} [[lastGroup(Codec::kFormat, number) != group) continue;]]
  [[number * kStepGroups / kStepChunks != group) continue;]])
mutant(skinny inputs-one-group-behind ${kernel} [[loadTokens(step * kStepGroups + group + 1, b[(group + 1) % 2]);]]
  [[loadTokens(step * kStepGroups + group, b[(group + 1) % 2]);]])
mutant(skinny slices-by-tokens ${kernel} [[work.multiply(sliceOf(slice, static_cast<int>(gridDim.z), steps), sums);]]
  [[work.multiply(sliceOf(slice, static_cast<int>(gridDim.z), steps - (x.tokens > 32)), sums);]])
mutant(skinny scale-of-neighbour cuda/gemm/codecs.cuh [[* 256 + lane / 2 * 16]] [[* 256 + lane / 4 * 32]])
mutant(skinny promoted-late cuda/gemm/codecs.cuh [[static constexpr int kPromotedGroups = 1;]]
  [[static constexpr int kPromotedGroups = 2;]])
mutant(skinny padding-not-cleared cuda/gemm/activations.cuh [[part * 8 + i < out.cols ? row[part * 8 + i] : 0.0f]]
  [[row[min(part * 8 + i, out.cols - 1)] * (part * 8 + i < out.cols ? 1.0f : INFINITY)]])
mutant(skinny columns-of-other-group cuda/gemm/codecs.cuh [[word(chunk, group % 2 * 2 + i % 4 / 2)]] [[word(chunk, i % 4 / 2 * 2 + group % 2)]])
