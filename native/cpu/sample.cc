#include "cpu/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "common/philox.h"

namespace foretoken {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504f;
constexpr int kBucketBits = 11;
constexpr int kAllTies = std::numeric_limits<int>::max();

int blocksOf(int vocabulary) { return (vocabulary + kSampleBlock - 1) / kSampleBlock; }

/// Orders like the value itself; NaN first of all, -0 as 0.
uint32_t orderedKey(float value) {
  if (std::isnan(value)) return 0;
  value += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits ^ (0x80000000u | (0u - (bits >> 31)));  // no branch: signs are hard to predict
}

double sum(const std::vector<float>& parts, int count) {
  double total = 0;
  for (int i = 0; i < count; ++i) total += parts[i];
  return total;
}

/// Lowest token whose logit is `value`, which is the greatest.
int32_t firstAt(const float* logits, int vocabulary, float value, const std::vector<float>& blockMax) {
  for (int b = 0; b < blocksOf(vocabulary); ++b) {
    if (blockMax[b] != value) continue;
    for (int i = b * kSampleBlock; i < std::min(vocabulary, (b + 1) * kSampleBlock); ++i)
      if (logits[i] == value) return i;
  }
  return 0;
}

/// First token at which the running sum of weights passes noise * total; blocks are skipped by their sums. Where
/// rounding leaves the target a hair beyond a sum, the last possible token before it is meant.
int32_t inverseCdf(const float* weights, int vocabulary, const std::vector<float>& blockSum, double noise) {
  const int blocks = blocksOf(vocabulary);
  const double target = noise * sum(blockSum, blocks);
  double passed = 0;
  int block = 0, possible = 0;
  for (; block < blocks && passed + blockSum[block] <= target; ++block) {
    passed += blockSum[block];
    if (blockSum[block] > 0) possible = block;
  }
  const bool beyond = block == blocks;
  if (beyond) block = possible;
  int32_t token = block * kSampleBlock;
  for (int i = token; i < std::min(vocabulary, (block + 1) * kSampleBlock); ++i) {
    if (weights[i] > 0) token = i;
    passed += weights[i];
    if (passed > target && !beyond) break;
  }
  return token;
}

bool hasPenalties(const SampleRow& row) {
  return (row.repetitionPenalty != 1 || row.presencePenalty != 0 || row.frequencyPenalty != 0) &&
         row.historyLength + row.history2Length > 0;
}

/// f(token) for every token of both parts of the history that is within the vocabulary.
template <class F>
void overHistory(const SampleRow& row, int vocabulary, F f) {
  for (int i = 0; i < row.historyLength; ++i)
    if (static_cast<uint32_t>(row.history[i]) < static_cast<uint32_t>(vocabulary)) f(row.history[i]);
  for (int i = 0; i < row.history2Length; ++i)
    if (static_cast<uint32_t>(row.history2[i]) < static_cast<uint32_t>(vocabulary)) f(row.history2[i]);
}

}  // namespace

const SampleKernels& sampleKernels(Isa isa) {
#if defined(__x86_64__)
  if (isAvx512(isa)) return kSampleAvx512;
  if (isa == Isa::avx2) return kSampleAvx2;
#elif defined(__aarch64__)
  if (isa == Isa::neon) return kSampleNeon;
#endif
  (void)isa;
  return kSamplePortable;
}

Sampler::Sampler(const SampleKernels& kernels, ThreadPool& threads)
    : kernels_(kernels), threads_(threads), scratch_(threads.size()) {}

void Sampler::reserve(int vocabulary) {
  if (vocabulary <= vocabulary_) return;
  for (Scratch& s : scratch_) {
    for (auto* values : {&s.adjusted, &s.weights}) values->resize(vocabulary);
    for (auto* values : {&s.blockMax, &s.blockSum, &s.sorted}) values->resize(blocksOf(vocabulary));
    for (auto* values : {&s.ids, &s.occurrences}) values->resize(vocabulary);
    s.mass.resize(1 << kBucketBits);
  }
  vocabulary_ = vocabulary;  // where memory was lacking, the next call tries again
}

void Sampler::sample(const float* logits, int64_t stride, int vocabulary, std::span<const SampleRow> rows,
                     std::span<SampleResult> out) {
  reserve(vocabulary);
  const auto one = [&](size_t i, int thread) {
    out[i] = draw(logits + rows[i].logitRow * stride, vocabulary, rows[i], scratch_[thread]);
  };
  if (rows.size() == 1) return one(0, 0);
  threads_.run(static_cast<int64_t>(rows.size()), [&](int64_t first, int64_t last, int thread) {
    for (int64_t i = first; i < last; ++i) one(static_cast<size_t>(i), thread);
  });
}

SampleResult Sampler::draw(const float* logits, int vocabulary, const SampleRow& row, Scratch& s) const {
  SampleResult result{};
  const float* adjusted = adjust(logits, vocabulary, row, s);
  kernels_.maxima(adjusted, vocabulary, s.blockMax.data());
  const float top = *std::max_element(s.blockMax.begin(), s.blockMax.begin() + blocksOf(vocabulary));
  if (!(row.temperature > 0) || std::isinf(top))
    result.token = top == -kInfinity ? 0 : firstAt(adjusted, vocabulary, top, s.blockMax);
  else
    result.token = drawWeighted(adjusted, vocabulary, top, row, s);
  if (row.logprobs >= 0) addLogprobs(logits, vocabulary, std::min(row.logprobs, kMaxLogprobs), result, s);
  return result;
}

/// Logits with bias and penalties; the logits themselves where neither applies.
const float* Sampler::adjust(const float* logits, int vocabulary, const SampleRow& row, Scratch& s) const {
  const bool penalties = hasPenalties(row);
  if (!penalties && row.biasCount == 0) return logits;
  float* x = s.adjusted.data();
  std::memcpy(x, logits, sizeof(float) * vocabulary);
  for (int i = 0; i < row.biasCount; ++i)
    if (static_cast<uint32_t>(row.biasToken[i]) < static_cast<uint32_t>(vocabulary))
      x[row.biasToken[i]] += row.biasValue[i];
  if (!penalties) return x;
  int32_t* occurrences = s.occurrences.data();
  overHistory(row, vocabulary, [&](int32_t token) { ++occurrences[token]; });
  overHistory(row, vocabulary, [&](int32_t token) {
    const int32_t count = occurrences[token];
    if (count == 0) return;
    occurrences[token] = 0;  // once per distinct token, and clean for the next row
    float value = x[token];
    value = value > 0 ? value / row.repetitionPenalty : value * row.repetitionPenalty;
    x[token] = value - row.presencePenalty - static_cast<float>(count) * row.frequencyPenalty;
  });
  return x;
}

int32_t Sampler::drawWeighted(const float* logits, int vocabulary, float top, const SampleRow& row, Scratch& s) const {
  // A vanishing temperature must not overflow: (top - top) * infinity would be NaN.
  const float factor = std::min(kLog2E / row.temperature, 1e30f);
  kernels_.weigh(logits, vocabulary, top, factor, s.weights.data(), s.blockSum.data());
  if (row.topK > 0 && row.topK < vocabulary) applyTopK(logits, vocabulary, row.topK, s);
  if (row.topP < 1) applyTopP(logits, vocabulary, top, factor, row.topP, s);
  if (row.minP > 0) applyCut(logits, vocabulary, {-kInfinity, kAllTies}, std::min(row.minP, 1.0f), s);
  return inverseCdf(s.weights.data(), vocabulary, s.blockSum, positionNoise(row.seed, row.position));
}

void Sampler::applyTopK(const float* logits, int vocabulary, int k, Scratch& s) const {
  const int candidates = kernels_.collect(logits, vocabulary, topKBound(vocabulary, k, s), s.ids.data());
  applyCut(logits, vocabulary, select(logits, candidates, nullptr, k, s), 0, s);
}

void Sampler::applyTopP(const float* logits, int vocabulary, float top, float factor, float p, Scratch& s) const {
  const double target = static_cast<double>(p) * sum(s.blockSum, blocksOf(vocabulary));
  // Tokens a hundred thousand times less likely than the first are looked at only if the others do not reach the mass.
  constexpr float kFarBelow = 17;
  const auto cutAmong = [&](float threshold) {
    const int candidates = kernels_.collect(logits, vocabulary, threshold, s.ids.data());
    return select(logits, candidates, s.weights.data(), target, s);
  };
  Cut cut = cutAmong(top - kFarBelow / factor);
  if (cut.threshold == -kInfinity) cut = cutAmong(-kInfinity);
  applyCut(logits, vocabulary, cut, 0, s);
}

void Sampler::applyCut(const float* logits, int vocabulary, Cut cut, float least, Scratch& s) const {
  if (cut.ties != kAllTies) {
    int equal = 0;
    for (int i = 0; i < vocabulary; ++i)
      if (logits[i] == cut.threshold && ++equal > cut.ties) s.weights[i] = 0;
  }
  kernels_.keep(logits, vocabulary, cut.threshold, least, s.weights.data(), s.blockSum.data());
}

/// A value that at least k logits reach: the k-th greatest of the blocks' maxima.
float Sampler::topKBound(int vocabulary, int k, Scratch& s) const {
  const int blocks = blocksOf(vocabulary);
  if (k > blocks) return -kInfinity;
  std::copy_n(s.blockMax.begin(), blocks, s.sorted.begin());
  std::nth_element(s.sorted.begin(), s.sorted.begin() + (k - 1), s.sorted.begin() + blocks, std::greater<>());
  return s.sorted[k - 1];
}

/// Among the first `candidates` of s.ids (which it reorders): where the weights (1 each if null), added from the
/// greatest logit down, reach `target`; everything is kept where they don't. A radix descent over the bits of the
/// logits: each level is a histogram of mass over what the logits left span, so that near ones come apart at once.
Sampler::Cut Sampler::select(const float* logits, int candidates, const float* weights, double target,
                             Scratch& s) const {
  const auto weightOf = [&](int32_t id) { return weights ? weights[id] : 1.0f; };
  int32_t* ids = s.ids.data();
  uint32_t lowest = ~0u, highest = 0;
  const auto include = [&](uint32_t key) { lowest = std::min(lowest, key), highest = std::max(highest, key); };
  for (int i = 0; i < candidates; ++i) include(orderedKey(logits[ids[i]]));
  double passed = 0;
  while (lowest < highest) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(highest - lowest)) - kBucketBits);
    const auto bucketOf = [&, base = lowest](int32_t id) { return (orderedKey(logits[id]) - base) >> shift; };
    std::fill(s.mass.begin(), s.mass.end(), 0.0);
    for (int i = 0; i < candidates; ++i) s.mass[bucketOf(ids[i])] += weightOf(ids[i]);
    int bucket = static_cast<int>((highest - lowest) >> shift);
    while (bucket >= 0 && (s.mass[bucket] == 0 || passed + s.mass[bucket] < target)) passed += s.mass[bucket--];
    if (bucket < 0) return {-kInfinity, kAllTies};
    int kept = 0;
    lowest = ~0u, highest = 0;
    for (int i = 0; i < candidates; ++i) {
      if (bucketOf(ids[i]) != static_cast<uint32_t>(bucket)) continue;
      include(orderedKey(logits[ids[i]]));
      ids[kept++] = ids[i];
    }
    candidates = kept;
  }
  // What is left is equal; the lower ids are kept until the mass is reached.
  int ties = 0;
  while (ties < candidates && (ties == 0 || passed < target)) passed += weightOf(ids[ties++]);
  if (passed < target) return {-kInfinity, kAllTies};
  return {logits[ids[0]], ties == candidates ? kAllTies : ties};
}

void Sampler::addLogprobs(const float* logits, int vocabulary, int alternatives, SampleResult& result,
                          Scratch& s) const {
  kernels_.maxima(logits, vocabulary, s.blockMax.data());
  const float top = *std::max_element(s.blockMax.begin(), s.blockMax.begin() + blocksOf(vocabulary));
  kernels_.weigh(logits, vocabulary, top, kLog2E, s.weights.data(), s.blockSum.data());
  // The greatest weighs exactly 1; less comes of infinite logits only, which then have all the probability.
  const double logTotal = std::log(std::max(1.0, sum(s.blockSum, blocksOf(vocabulary))));
  const auto logprob = [&](float x) {
    if (std::isnan(x)) return -kInfinity;
    return static_cast<float>((x == top ? 0.0 : static_cast<double>(x) - top) - logTotal);
  };
  result.logprob = logprob(logits[result.token]);
  std::fill_n(result.topToken, alternatives, 0);
  std::fill_n(result.topLogprob, alternatives, -kInfinity);
  if (alternatives == 0) return;
  int found = kernels_.collect(logits, vocabulary, topKBound(vocabulary, alternatives, s), s.ids.data());
  const Cut cut = select(logits, found, nullptr, alternatives, s);
  found = kernels_.collect(logits, vocabulary, cut.threshold, s.ids.data());
  const int shown = std::min(found, alternatives);
  std::partial_sort(s.ids.begin(), s.ids.begin() + shown, s.ids.begin() + found,
                    [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (int i = 0; i < shown; ++i) {
    result.topToken[i] = s.ids[i];
    result.topLogprob[i] = logprob(logits[s.ids[i]]);
  }
}

}  // namespace foretoken
