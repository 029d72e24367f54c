// Drawing tokens from logits.
//
// Order of the rules, as most engines have it: logit bias is added; penalties (repetition as Hugging Face does: a
// positive logit is divided, another multiplied, once per distinct token; then presence once and frequency per
// occurrence are subtracted, as OpenAI's API does); temperature; top-k; top-p over what top-k left (the token that
// reaches the mass is kept); min-p relative to the likeliest token. Of equal logits the lower id comes first. What
// remains is drawn by inverse CDF in token order with positionNoise(seed, position), so that the token depends on the
// logits, the rules, seed and position alone. NaN logits count as -infinity; where none is finite the answer is token
// 0, and +infinity wins like a greatest logit.
#pragma once
#include <span>
#include <vector>

#include "backend.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace foretoken {

/// Tokens whose weights are summed together (in sixteen lanes by token mod 16, then blocks in order, in double).
constexpr int kSampleBlock = 512;

/// The loops over a vocabulary, for one instruction set. All arrays have `count` elements, per-block arrays one per
/// kSampleBlock.
struct SampleKernels {
  /// blockMax[b] = greatest of the block; -infinity where all are NaN.
  void (*maxima)(const float* logits, int count, float* blockMax);
  /// weights = 2^((logit - top) factor), 0 for NaN; blockSum[b] = their sum.
  void (*weigh)(const float* logits, int count, float top, float factor, float* weights, float* blockSum);
  /// weights = 0 where logit < threshold or weight < least; blockSum[b] = sum of what is left.
  void (*keep)(const float* logits, int count, float threshold, float least, float* weights, float* blockSum);
  /// Ids with logit >= threshold, ascending; returns how many.
  int (*collect)(const float* logits, int count, float threshold, int32_t* ids);
};
extern const SampleKernels kSamplePortable, kSampleNeon, kSampleAvx2, kSampleAvx512;
const SampleKernels& sampleKernels(Isa isa);

class Sampler {
 public:
  /// `threads` must outlive this.
  Sampler(const SampleKernels& kernels, ThreadPool& threads);

  /// Backend::sample over logits [.][stride]. Rows are spread over the threads; the first call for a vocabulary
  /// allocates.
  void sample(const float* logits, int64_t stride, int vocabulary, std::span<const SampleRow> rows,
              std::span<SampleResult> out);

 private:
  /// What one thread works in.
  struct Scratch {
    std::vector<float> adjusted, weights, blockMax, blockSum, sorted;
    std::vector<int32_t> ids, occurrences;
    std::vector<double> mass;
  };
  /// Keeps logits > threshold and the first `ties` tokens whose logit equals it.
  struct Cut {
    float threshold;
    int ties;
  };

  void reserve(int vocabulary);
  SampleResult draw(const float* logits, int vocabulary, const SampleRow& row, Scratch& s) const;
  const float* adjust(const float* logits, int vocabulary, const SampleRow& row, Scratch& s) const;
  int32_t drawWeighted(const float* logits, int vocabulary, float top, const SampleRow& row, Scratch& s) const;
  void applyTopK(const float* logits, int vocabulary, int k, Scratch& s) const;
  void applyTopP(const float* logits, int vocabulary, float top, float factor, float p, Scratch& s) const;
  void applyCut(const float* logits, int vocabulary, Cut cut, float least, Scratch& s) const;
  Cut select(const float* logits, int candidates, const float* weights, double target, Scratch& s) const;
  float topKBound(int vocabulary, int k, Scratch& s) const;
  void addLogprobs(const float* logits, int vocabulary, int alternatives, SampleResult& result, Scratch& s) const;

  const SampleKernels& kernels_;
  ThreadPool& threads_;
  std::vector<Scratch> scratch_;
  int vocabulary_ = 0;
};

}  // namespace foretoken
