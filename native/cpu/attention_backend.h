// What attention and KV keep for a CpuBackend between calls.
#pragma once
#include "cpu/attention.h"
#include "cpu/kv.h"

namespace foretoken {

struct CpuAttention {
  KvPool pool;
  Attention attention;

  CpuAttention(const KvShape& shape, Isa isa, ThreadPool& threads)
      : pool(shape), attention(attentionKernels(isa), shape, threads) {}
};

}  // namespace foretoken
