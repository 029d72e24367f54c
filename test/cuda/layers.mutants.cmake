mutant(layers norm-of-half-the-row cuda/train/norm.cuh [[i < width; i += kNormRowThreads) sum]] [[i < width / 2; i += kNormRowThreads) sum]])
mutant(layers norm-along-once-inverse cuda/train/norm.cuh [[inverse * inverse * sum]] [[inverse * sum]])
mutant(layers turned-forward-for-the-gradient cuda/train/rotary.cuh [[back ? -sine : sine]] [[sine]])
mutant(layers neighbours-turned cuda/train/rotary.cuh [[other = one + a.half;]] [[other = one + 1;]])
mutant(layers gate-of-the-next-thread cuda/train/elements.cuh [[begin + n * kPieceThreads]] [[begin + n * (kPieceThreads - 1)]])
mutant(layers gradients-swapped cuda/train/gate.cuh [[s, up[i], dy[i])]] [[s, dy[i], dy[i])]])
mutant(layers own-rows-of-the-future cuda/train/block_attention.cuh [[j <= contextKeys + slot]] [[j <= contextKeys + slot + 1]])
mutant(layers no-barrier-before-tile-is-read cuda/train/block_attention.cuh [[    __syncthreads();
    visit(first, count);]] [[    visit(first, count);]])
mutant(layers no-barrier-after-tile cuda/train/block_attention.cuh [[    visit(first, count);
    __syncthreads();
]] [[    visit(first, count);
]])
mutant(layers sum-not-scaled-down cuda/train/block_attention.cuh [[sum = sum * keep + warpReduce]] [[sum = sum + warpReduce]])
mutant(layers own-keys-of-one-head cuda/train/block_attention.cuh [[head < (keyHead + 1) * a.group()]] [[head < keyHead * a.group() + 1]])
