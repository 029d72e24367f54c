// The AVX-512 and AMX sources of matrix products, executed lane by lane: the portable path's bits in every format but
// bf16 and fp8, which keep their error bounds, and rows that do not depend on their neighbours in all of them.
#include "avx512_emulation_gemm.h"
// The emulation comes first.
#include "check.h"
#include "cpu/gemm_amx.cc"
#include "cpu/gemm_avx512.cc"
#include "cpu/gemm_avx512fp16.cc"
#include "gemm_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

/// Each row has the same bits in any batch, and the portable path's where the path defines none of its own.
void testRows(const Kernels& path, Packed& w, const std::vector<float>& in, bool own) {
  constexpr int kRows = 33;
  const std::vector<float> norm(in.begin(), in.begin() + w.cols);
  for (Epilogue epilogue : {Epilogue::store, Epilogue::swiglu, Epilogue::geglu}) {
    const Call call{norm.data(), 1e-5f, epilogue};
    const auto all = multiplied(path, w, in.data(), kRows, call, 2);
    if (!own) CHECK(same(all, multiplied(portableKernels(), w, in.data(), kRows, call)));
    const size_t width = all.size() / kRows;
    for (int count : {1, 2, 3, 4, 8, 9, 13})
      for (int first : {0, kRows - count}) {
        const auto some = multiplied(path, w, in.data() + first * w.cols, count, call);
        CHECK(std::memcmp(some.data(), all.data() + first * width, some.size() * sizeof(float)) == 0);
      }
  }
}

void testFormat(std::mt19937& random, ThreadPool& threads, Format format, int64_t rows, int64_t cols) {
  Packed w = randomPacked(random, threads, format, rows, cols);
  const auto in = randomRows(random, 33, cols);
  const bool pairs = format == Format::bf16 || format == Format::fp8;
  testRows(avx512Kernels(), w, in, pairs);
  if (pairs) CHECK(worstError(exactProduct(w, in.data(), 33), multiplied(avx512Kernels(), w, in.data(), 33)) < 2e-6);
  testRows(avx512fp16Kernels(), w, in, pairs);
  testRows(amxKernels(), w, in, pairs);
  if (pairs) CHECK(worstError(exactProduct(w, in.data(), 33), multiplied(amxKernels(), w, in.data(), 33)) < 2e-6);
  if (format == Format::fp8)
    CHECK(worstError(exactProduct(w, in.data(), 33, false), multiplied(avx512fp16Kernels(), w, in.data(), 33)) <
          kHalfError);
}

}  // namespace

int main() {
  std::mt19937 random(1);
  ThreadPool threads(2);
  for (Format format : kFormats) {
    testFormat(random, threads, format, 36, 96);
    testFormat(random, threads, format, 16, fileTypeOf(format) == FileType::f32 ? 130 : 832);
  }
  return finish("gemm_avx512");
}
