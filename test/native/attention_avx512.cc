// The AVX-512 source of attention, executed lane by lane, gives the portable path's bits, and that for tiles keeps its
// promises; so both can be tested where no AVX-512 and no AMX is. (What remains unproven there is only the compiler's
// translation of each intrinsic.)
#include "avx512_emulation_gemm.h"
// The emulation comes first.
#include "attention_rig.h"
#include "check.h"
#include "cpu/attention_amx.cc"

namespace {

using namespace foretoken;
using namespace foretoken::test;

void testEmulated(const Shape& shape, int length) {
  const AttentionKernels emulated = {writeRow, attend, merge};
  std::vector<int> tokens(length);
  for (int i = 0; i < length; ++i) tokens[i] = i * 7 + 1;
  const auto expected = oneByOne(shape, kAttentionPortable, tokens);
  const auto got = oneByOne(shape, emulated, tokens);
  for (int p = 0; p < length; ++p)
    CHECK(std::memcmp(expected[p].data(), got[p].data(), got[p].size() * sizeof(float)) == 0);
}

}  // namespace

int main() {
  testEmulated({9, 3, 64, true}, 140);
  testEmulated({8, 2, 80, false}, 40);
  testEmulated({17, 1, 48, false}, 40);
  for (const Shape& shape : {Shape{9, 3, 64, true}, Shape{5, 1, 96, false}}) {
    checkAgainstDouble(shape, kAttentionAmx, 150);
    checkChunksAndBatches(shape, kAttentionAmx, 1);
    for (uint32_t seed = 0; seed < 4; ++seed) checkTrees(shape, kAttentionAmx, seed);
  }
  return finish("attention_avx512");
}
