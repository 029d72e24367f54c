// What this machine can do at best, measured with the threads and the instruction set that the kernels use: the
// yardsticks of every bench. Rates move within minutes on shared machines, so measure them between the repeats of what
// they judge.
#pragma once
#include "common/memory.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace foretoken {

class Probe {
 public:
  /// Maps 200 MiB to read from.
  Probe(ThreadPool&, Isa);

  /// GB/s (10^9 bytes) of one pass of all threads over 200 MiB in huge pages.
  double readGBs();
  /// 10^9 multiply-adds a second of the path's int8 dot product on registers (AVX2: vpmaddubsw and a 16-bit addition;
  /// AVX-512: vpdpbusd), all threads, for about two milliseconds.
  double int8GMACs();
  /// The same for what bf16 and fp8 weights run on (AVX2: fp32 fused multiply-add; AVX-512: vdpbf16ps).
  double bf16GMACs();
  /// Nanoseconds that all threads take to meet in a loop and to leave it, the median of many: 200 where two cores share
  /// a cache, 700 where they don't (Zen 4). 0 for a single thread.
  double meetingNs();

 private:
  double peak(int64_t (*run)(int64_t), int64_t& rounds);

  ThreadPool& threads_;
  const Kernels& kernels_;
  Memory memory_;
  int64_t int8Rounds_ = 1000, bf16Rounds_ = 1000;  ///< grow until a measurement takes long enough
};

}  // namespace foretoken
