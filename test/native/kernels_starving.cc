// Kernels that make room when they first need it: where memory is lacking they say so, and the next call tries again.
#include <random>

#include "attention_inputs.h"
#include "check.h"
#include "cpu/attention.h"
#include "cpu/kv.h"
#include "cpu/sample.h"
#include "sample_rules.h"
#include "starving.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

/// Lets the n-th allocation of `work` fail, for all n, and has it try again; false where none failed.
template <class Work>
bool failsAt(int n, const Work& work) {
  starve(n, 1);
  try {
    work();
  } catch (const std::bad_alloc&) {
  }
  return feed();
}

void testSampler() {
  constexpr int kVocabulary = 5000;
  const std::vector<float> logits = randomLogits(1, kVocabulary, 2);
  std::vector<SampleRow> rows(3);
  for (int r = 0; r < 3; ++r) rows[r].temperature = 0.8f, rows[r].topK = 40, rows[r].topP = 0.9f, rows[r].position = r;
  ThreadPool threads(2);
  const auto sample = [&](Sampler& sampler, std::vector<SampleResult>& out) {
    sampler.sample(logits.data(), kVocabulary, kVocabulary, rows, out);
  };
  std::vector<SampleResult> expected(3), out(3);
  Sampler fresh(sampleKernels(Isa::portable), threads);
  sample(fresh, expected);
  int failed = 0;
  for (bool some = true; some; ++failed) {
    Sampler sampler(sampleKernels(Isa::portable), threads);
    some = failsAt(failed, [&] { sample(sampler, out); });
    sample(sampler, out);
    for (int r = 0; r < 3; ++r) CHECK(out[r].token == expected[r].token);
  }
  CHECK(failed > 8);
}

/// One head of keys and many of queries: more items than there was room for at first.
void testAttention() {
  const Shape shape{48, 1, 32, false};
  constexpr int kRows = 256, kPages = kRows / kPageSize;
  std::mt19937 random(1);
  const std::vector<int> tokens = randomTokens(random, kRows);
  std::vector<Row> rows;
  for (int p = 0; p < kRows; ++p) rows.push_back({tokens[p], p, p, 0, p + 1, {}});
  const std::vector<std::vector<int32_t>> tables{orderedPages(kPages)};
  const RowsPass of(shape, rows, tables);
  const std::vector<float> frequency = frequencies(shape.headDim);
  ThreadPool threads(2);
  KvPool pool({1, shape.kvHeads, shape.headDim, kPages, 0});
  const auto attend = [&](Attention& attention) {
    std::vector<float> out(static_cast<size_t>(kRows) * shape.heads * shape.headDim);
    attention.run(of.pass, pool, 0, shape.heads, Rope{frequency, false}, of.qkv.data(), out.data());
    return out;
  };
  Attention fresh(attentionKernels(Isa::portable), pool.shape(), threads);
  const std::vector<float> expected = attend(fresh);
  int failed = 0;
  for (bool some = true; some; ++failed) {
    Attention attention(attentionKernels(Isa::portable), pool.shape(), threads);
    some = failsAt(failed, [&] { attend(attention); });
    CHECK(attend(attention) == expected);
  }
  CHECK(failed > 1);
}

}  // namespace

int main() {
  testSampler();
  testAttention();
  return finish("kernels_starving");
}
