mutant(verify no-barrier-before-next-level cuda/verify/select.cuh [[    const bool several = count[found] > 1;
    __syncthreads();
]] [[    const bool several = count[found] > 1;
]])
mutant(verify no-barrier-before-flush cuda/verify/draw.cuh [[  __syncthreads();
  if (counting) histogram.addTo]] [[  if (counting) histogram.addTo]])
mutant(verify one-block-too-early cuda/common/ticket.cuh [[== blocks - 1;]] [[== (blocks > 1 ? blocks - 2 : 0);]])
mutant(verify cut-one-short cuda/verify/order.cuh [[place >= cut &&]] [[place > cut &&]])
mutant(verify next-position cuda/verify/draw.cuh [[positionBits(r.seed, r.position)]] [[positionBits(r.seed, r.position + 1)]])
mutant(verify child-of-anybody cuda/verify/walk.cuh [[trees.parent[row] == parent && ]] "")
