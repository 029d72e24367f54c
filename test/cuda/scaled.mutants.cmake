set(kernel cuda/gemm/scaled.cuh)
mutant(scaled scales-swapped ${kernel} [[scaleOperand(ring.weightScales(stage) + i * kScaleBlockBytes)]]
  [[scaleOperand(ring.inputScales(stage) + i * kScaleBlockBytes)]])
mutant(scaled scale-of-first-groups ${kernel} [[byte = k * kScales % kScaleBlockGroups;]] [[byte = 0;]])
mutant(scaled scales-not-announced ${kernel} [[ + 2 * kScaleBytes;
  }]] [[;
  }]])
mutant(scaled scales-of-first-stage ${kernel} [[.scaleBlock(place.row, block * kGroups)]] [[.scaleBlock(place.row, 0)]])
mutant(scaled padding-not-scaled ${kernel} [[group < layout.groups(); group]] [[group * kGroup < x.cols; group]])
set(kernel cuda/gemm/large_tcgen05.cuh)
mutant(scaled stage-not-awaited ${kernel} [[    waitFor(ring.full(stage), block / kLargeStages % 2);
]] "")
mutant(scaled sums-begun-twice ${kernel} [[begin = block % run == 0,]] [[begin = block % 2 == 0,]])
mutant(scaled sums-read-early ${kernel} [[    if (end) commitOrders(parts.ready(part));]] [[    if (begin) commitOrders(parts.ready(part));]])
set(kernel cuda/simt/tensor.h)
mutant(scaled copies-out-of-turn ${kernel} [[  order([=] {
    const auto start]] [[  block->later([=] {
    const auto start]])
