mutant(train waits-one-group-less cuda/train/gemm.cuh [[waitCopies<kStages - 2>();]] [[waitCopies<kStages - 1>();]])
mutant(train no-barrier-before-slab cuda/train/gemm.cuh [[    waitCopies<kStages - 2>();
    __syncthreads();
]] [[    waitCopies<kStages - 2>();
]])
mutant(train rows-mixed-up cuda/train/gemm.cuh [[lane / 4 + k / 2 * 8]] [[lane / 4 + k % 2 * 8]])
mutant(train no-barrier-before-list cuda/train/loss.cuh [[isListed[i] = 0;
  __syncthreads();
]] [[isListed[i] = 0;
]])
mutant(train last-piece-left-out cuda/train/optimiser.cuh [[i < pieces; i += kStepThreads]] [[i < pieces - 1; i += kStepThreads]])
mutant(train rounds-to-nearest cuda/train/small_moments.cuh [[(magnitude + (random & kDropped))]]
  [[(magnitude + (1u << 19))]])
mutant(train scale-of-the-block-before cuda/train/small_moments.cuh [[moments.rootScale[block] = rootScale;]]
  [[moments.rootScale[block > 0 ? block - 1 : 0] = rootScale;]])
mutant(train runs-begin-one-late cuda/train/optimiser.cuh [[while (i >= run->end)]] [[while (i > run->end)]])
