// The AVX-512 source of attention, executed lane by lane, gives the portable path's bits; so it can be tested where no
// AVX-512 is. (What remains unproven there is only the compiler's translation of each intrinsic.)
#include "avx512_emulation.h"
// The emulation comes first.
#include "attention_rig.h"
#include "check.h"
#include "cpu/attention-inl.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

void testEmulated(const Shape& shape, int length) {
  const AttentionKernels emulated = {prepare, attend, merge};
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
  return finish("attention_avx512");
}
