// The whole CUDA backend on the executor, and an engine that runs a tiny model on it.
#pragma once
#include <array>
#include <memory>
#include <utility>

#include "cuda/attention/attention_bf16.cu"
#include "cuda/attention/attention_fp8.cu"
#include "cuda/backend/cuda_backend.cu"
#include "cuda/backend/cuda_backend.h"
#include "cuda/gemm/large.cu"
#include "cuda/gemm/skinny.cu"
#include "cuda/verify/verify.cu"
#include "engine/engine.h"
#include "test/native/check.h"
#include "test/native/engine_rig.h"
#include "test/native/head_rig.h"

namespace foretoken::test {

inline std::unique_ptr<Backend> cudaBackend() {
  return std::make_unique<cuda::CudaBackend>(cuda::BackendOptions{0, 1});
}

inline const cuda::CudaBackend& cudaOf(const Backend& backend) {
  return static_cast<const cuda::CudaBackend&>(backend);
}

/// An engine on the tiny model that HeadRig("tied-f16.gguf") is for.
struct OnCuda : EngineRig {
  using Prepare = std::function<void(EngineOptions&, const Model&, Backend&)>;
  OnCuda(EngineOptions options, const Prepare& prepare)
      : EngineRig("bf16", std::move(options), prepare, cudaBackend()) {}
  OnCuda(EngineOptions options, const HeadRig* head)
      : OnCuda(std::move(options), [&](EngineOptions& engine, const Model& target, Backend& packing) {
          if (head) engine.head = std::make_shared<const HeadWeights>(head->source(), target, packing);
        }) {}
  void run() {
    EngineRig::run([&](const StepRecord& step) {
      drafted += step.draftCount;
      accepted[step.drafter] += step.accepted;
    });
  }
  int64_t acceptedOf(DrafterId drafter) const { return accepted[static_cast<int>(drafter)]; }

  int64_t drafted = 0;
  std::array<int64_t, kDrafterCount> accepted{};
};

}  // namespace foretoken::test
