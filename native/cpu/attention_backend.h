// What attention, KV and sampling keep for a CpuBackend between calls.
#pragma once
#include <memory>

#include "cpu/attention.h"
#include "cpu/kv.h"
#include "cpu/sample.h"

namespace foretoken {

struct CpuAttention {
  std::unique_ptr<KvPool> pool;  ///< null until allocateKv
  std::unique_ptr<Attention> attention;
  Sampler sampler;

  CpuAttention(Isa isa, ThreadPool& threads) : sampler(sampleKernels(isa), threads) {}
};

}  // namespace foretoken
