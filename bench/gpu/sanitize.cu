#include "bench/gpu/sanitize.h"

#include "bench/gpu/random_model.h"
#include "cuda/backend/cuda_backend.h"

namespace foretoken::bench {

void sanitize() {
  constexpr ModelShape kShape{2, 192, 352, 6, 2, 32, 1003};
  for (const auto kv : {KvFormat::bf16, KvFormat::fp8})
    for (const Format format : {Format::bf16, Format::fp8, Format::nvfp4, Format::mxfp4}) {
      cuda::CudaBackend backend({0, 1});
      RandomModel model(backend, kShape, kv, format, 2, /*context=*/333, /*maxRows=*/40);
      for (const int rows : {1, 2, 7, 33, 40, 1}) model.step(rows);
    }
}

}  // namespace foretoken::bench
