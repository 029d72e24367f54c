// The AVX-512 source of the sampler and of the vector arithmetic, executed lane by lane, gives the portable path's
// bits.
#include "avx512_emulation.h"
// The emulation comes first.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/sample-inl.h"

namespace {

using namespace foretoken;

void testEmulated(int vocabulary) {
  std::mt19937 random(vocabulary);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> logits(vocabulary);
  for (float& x : logits) x = normal(random);
  logits[vocabulary / 2] = __builtin_nanf("");
  const int blocks = (vocabulary + kSampleBlock - 1) / kSampleBlock;
  const SampleKernels emulated = {maxima, weigh, keep, collect};
  std::vector<float> results[2];
  for (const SampleKernels* kernels : {&kSamplePortable, &emulated}) {
    std::vector<float> most(blocks), weights(vocabulary), sums(blocks), left(blocks);
    std::vector<int32_t> ids(vocabulary);
    kernels->maxima(logits.data(), vocabulary, most.data());
    kernels->weigh(logits.data(), vocabulary, 12.5f, 1.3f, weights.data(), sums.data());
    std::vector<float>& all = results[kernels == &emulated];
    all = weights;
    kernels->keep(logits.data(), vocabulary, -1.0f, 1e-5f, weights.data(), left.data());
    const int found = kernels->collect(logits.data(), vocabulary, 0.5f, ids.data());
    for (const auto& part : {most, weights, sums, left}) all.insert(all.end(), part.begin(), part.end());
    all.insert(all.end(), ids.begin(), ids.begin() + found);
  }
  CHECK(results[0].size() == results[1].size());
  CHECK(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(float)) == 0);
}

/// exp2 against double, over its whole range.
void testExp2() {
  double worst = 0;
  for (int i = 0; i <= 125000; ++i) {
    const float x = static_cast<float>(-i * 0.001);
    worst = std::max(worst, std::abs(exp2(x) / std::exp2(static_cast<double>(x)) - 1));
  }
  CHECK(worst < 1.5 / (1 << 24));
  CHECK(exp2(0.0f) == 1.0f);
  CHECK(exp2(-125.5f) == 0.0f && exp2(-__builtin_inff()) == 0.0f && exp2(__builtin_nanf("")) == 0.0f);
}

}  // namespace

int main() {
  testExp2();
  for (int vocabulary : {1, 15, 16, 511, 512, 513, 4099}) testEmulated(vocabulary);
  return foretoken::test::finish("sample_avx512");
}
