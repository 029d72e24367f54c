#include "train/kernels.h"

namespace foretoken::train {

const TrainKernels& trainKernels(Isa isa) {
#if defined(__x86_64__)
  if (isAvx512(isa)) return kTrainAvx512;
  if (isa == Isa::avx2) return kTrainAvx2;
#elif defined(__aarch64__)
  if (isa == Isa::neon) return kTrainNeon;
#endif
  (void)isa;
  return kTrainPortable;
}

int64_t attentionScratch(const AttentionRows& rows) {
  constexpr int64_t kPadding = 16;  // lanes beyond the last key
  return 2 * rows.width * (rows.keys + kPadding) + 2 * (rows.keys + 2 * kPadding);
}

}  // namespace foretoken::train
