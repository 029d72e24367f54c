set(kernel cuda/gemm/large.cuh)
mutant(large stage-not-awaited ${kernel} [[      waitFor(ring.full(stage), block / kLargeStages % 2);
]] "")
mutant(large stage-overwritten ${kernel} [[    waitFor(ring.empty(stage), (block / kLargeStages + 1) % 2);
]] "")
mutant(large stage-released-early ${kernel} [[      waitProducts(d);
      if (threadIdx.x % kWarp == 0) arrive(ring.empty(stage));]] [[      if (threadIdx.x % kWarp == 0) arrive(ring.empty(stage));
      waitProducts(d);]])
mutant(large products-not-awaited ${kernel} [[      waitProducts(d);
]] "")
mutant(large wrong-parity ${kernel} [[(block / kLargeStages + 1) % 2]] [[block / kLargeStages % 2]])
mutant(large scale-of-other-half ${kernel} [=[scale[i / 2 % 2]]=] [=[scale[i / 4 % 2]]=])
set(kernel cuda/gemm/large_tcgen05.cuh)
mutant(large part-not-awaited ${kernel} [[      waitFor(parts.ready(part), run / Product::kParts % 2);
]] "")
mutant(large part-overwritten ${kernel} [[    if (begin) waitFor(parts.drained(part), (block / run / Product::kParts + 1) % 2);
]] "")
mutant(large ring-freed-by-wrong-commit ${kernel} [[    commitOrders(ring.empty(stage));
]] [[    arrive(ring.empty(stage));
]])
mutant(large inputs-in-columns-order cuda/gemm/quantize.cuh [[fp8Place(lane * kQuantizedEach)]] [[lane * kQuantizedEach]])
mutant(large weights-in-columns-order cuda/gemm/pack.h [[kFp8RowBytes + fp8Place(col)]] [[kFp8RowBytes + col]])
mutant(large tiles-of-rows-swapped cuda/gemm/large.cuh [[place.row / kTileRows, ring]] [[place.row / kLargeTile, ring]])
