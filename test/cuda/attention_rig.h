// What the tests of CUDA attention share: a pool to run passes over, and the exact answer in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/attention/launch.cuh"
#include "cuda/step/pass_words.h"
#include "test/native/attention_inputs.h"

namespace foretoken::test {

/// One layer's pool and the kernels on it.
template <class Codec>
class Rig {
 public:
  Rig(const Shape& shape, int pages)
      : shape_(shape),
        frequency_(frequencies(shape.headDim)),
        headBytes_(cuda::pageHeadBytes<Codec>(shape.headDim)),
        pool_((headBytes_ * shape.kvHeads * pages + sizeof(uint4) - 1) / sizeof(uint4),
              make_uint4(kStale, kStale, kStale, kStale)) {}

  /// Runs one pass and returns the outputs, a vector per row. `cut`: splits are shared out among blocks.
  Outputs run(const std::vector<Row>& rows, const std::vector<std::vector<int32_t>>& tables, bool cut) {
    RowsPass of(shape_, rows, tables);
    return launch(of.pass, of.qkv, cut);
  }

  cuda::KvPages kv() {
    return {reinterpret_cast<uint8_t*>(pool_.data()), headBytes_ * shape_.kvHeads, headBytes_, shape_.headDim,
            shape_.kvHeads};
  }

 private:
  Outputs launch(const Pass& pass, const std::vector<float>& qkv, bool cut) {
    using namespace cuda;
    const int group = shape_.heads / shape_.kvHeads, headDim = shape_.headDim;
    const Rope rope{frequency_, shape_.interleaved};
    PassWords words;
    words.begin(pass);
    words.addContext(pass, group);
    words.addRotary(pass, rope);
    const size_t values = static_cast<size_t>(pass.rows) * shape_.heads * headDim;
    std::vector<uint16_t> queries(values, 0xffff);
    const float scale = 1.4426950408889634f / std::sqrt(static_cast<float>(headDim));
    // Room for one split and one tile more than there are, as where a launch is recorded for larger passes.
    const AttentionExtent extent{pass.rows + 1, words.tiles() + 1, ceilDiv(words.longest(), kSplit) + 1, words.tree()};
    std::vector<float> out(values, NAN);
    std::vector<float> partials(cut ? static_cast<size_t>(pass.rows) * shape_.heads * extent.splits * (headDim + 2) : 0,
                                NAN);
    const int32_t* const uploaded = words.words().data();
    launchAppend<Codec>({uploaded, qkv.data(), queries.data(), kv(), shape_.heads, shape_.interleaved, scale},
                        extent.rows, nullptr);
    launchAttend<Codec>({uploaded, queries.data(), kv(), shape_.heads, group, cut ? partials.data() : nullptr,
                         extent.splits, out.data()},
                        extent, nullptr);
    return perRow(out, pass.rows);
  }

  /// What pages hold before anybody writes: numbers, and none that would go unnoticed.
  static constexpr unsigned kStale = 0x41414141;

  Shape shape_;
  std::vector<float> frequency_;
  size_t headBytes_;
  std::vector<uint4> pool_;
};

/// The outputs of positions `first` and later of `tokens`, decoded one by one in ordered pages behind the rest, which
/// comes in passes of 40 rows: what all else must equal.
template <class Codec>
Outputs oneByOne(const Shape& shape, const std::vector<int>& tokens, int first) {
  const int length = static_cast<int>(tokens.size()), pages = (length + kPageSize - 1) / kPageSize;
  Rig<Codec> rig(shape, pages);
  std::vector<Row> before;
  for (int p = 0; p < first; ++p) {
    before.push_back({tokens[p], p, p, 0, p + 1, {}});
    if (before.size() < 40 && p + 1 < first) continue;
    rig.run(before, {orderedPages(pages)}, false);
    before.clear();
  }
  Outputs outputs;
  for (int p = first; p < length; ++p)
    outputs.push_back(rig.run({{tokens[p], p, p, 0, p + 1, {}}}, {orderedPages(pages)}, p % 2 == 0)[0]);
  return outputs;
}

/// What a vector is after having been kept in the pages.
template <class Codec>
std::vector<double> stored(const std::vector<double>& values) {
  float most = 0;
  for (const double x : values) most = std::max(most, std::fabs(static_cast<float>(x)));
  const float factor = Codec::kScaled ? std::exp2(static_cast<float>(cuda::exponentFor(most))) : 1.0f;
  std::vector<double> kept;
  for (const double x : values) {
    const float value = static_cast<float>(x) / factor;
    kept.push_back(Codec::kScaled ? e4m3ToFloat(floatToE4m3(value)) * factor : bf16ToFloat(floatToBf16(value)));
  }
  return kept;
}

/// The last position's output, in double but for the roundings of q, k and v.
template <class Codec>
std::vector<double> exactLast(const Shape& shape, const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), group = shape.heads / shape.kvHeads;
  std::vector<std::vector<float>> rows;
  for (const int token : tokens) rows.push_back(inputRow(shape, token));
  std::vector<double> out;
  for (int head = 0; head < shape.heads; ++head) {
    const int key = shape.heads + head / group, value = key + shape.kvHeads;
    std::vector<double> q = headOf(shape, rows.back(), head, length - 1), score(length);
    for (double& x : q) x /= std::sqrt(static_cast<double>(shape.headDim));
    q = stored<cuda::Bf16Kv>(q);
    for (int p = 0; p < length; ++p) {
      const std::vector<double> k = stored<Codec>(headOf(shape, rows[p], key, p));
      for (int d = 0; d < shape.headDim; ++d) score[p] += q[d] * k[d];
    }
    const double top = *std::max_element(score.begin(), score.end());
    double total = 0;
    std::vector<double> sum(shape.headDim);
    for (int p = 0; p < length; ++p) {
      const double w = std::exp(score[p] - top);
      total += w;
      const std::vector<double> v = stored<Codec>(headOf(shape, rows[p], value, -1));
      for (int d = 0; d < shape.headDim; ++d) sum[d] += w * v[d];
    }
    for (const double s : sum) out.push_back(s / total);
  }
  return out;
}

}  // namespace foretoken::test
