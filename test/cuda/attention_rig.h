// What the tests of CUDA attention share: sequences of made-up tokens, a pool to run passes over, the exact answer in
// double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/attention/launch.cuh"
#include "cuda/step/pass_words.h"

namespace foretoken::test {

using Outputs = std::vector<std::vector<float>>;

/// A token's row of q, k and v is random, but the same wherever that token appears.
struct Shape {
  int heads, kvHeads, headDim;
  bool interleaved;
  int width() const { return (heads + 2 * kvHeads) * headDim; }
};

inline std::vector<float> inputRow(const Shape& shape, int token) {
  std::mt19937 random(static_cast<uint32_t>(token) * 2654435761u + 12345u);
  std::normal_distribution<float> normal;
  std::vector<float> row(shape.width());
  for (float& x : row) x = normal(random);
  return row;
}

inline std::vector<float> frequencies(int headDim) {
  std::vector<float> f(headDim / 2);
  for (int i = 0; i < headDim / 2; ++i) f[i] = static_cast<float>(std::pow(10000.0, -2.0 * i / headDim));
  return f;
}

/// One row of a pass under construction.
struct Row {
  int token, position, slot, sequence, base;
  std::vector<int32_t> ancestors;
};

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
    std::vector<int32_t> position, slot, sequence, base, begin{0}, ancestors;
    std::vector<float> qkv;
    for (const Row& row : rows) {
      position.push_back(row.position);
      slot.push_back(row.slot);
      sequence.push_back(row.sequence);
      base.push_back(row.base);
      ancestors.insert(ancestors.end(), row.ancestors.begin(), row.ancestors.end());
      begin.push_back(static_cast<int32_t>(ancestors.size()));
      const std::vector<float> x = inputRow(shape_, row.token);
      qkv.insert(qkv.end(), x.begin(), x.end());
    }
    std::vector<const int32_t*> pages;
    for (const auto& table : tables) pages.push_back(table.data());
    Pass pass;
    pass.rows = static_cast<int>(rows.size());
    pass.position = position.data();
    pass.slot = slot.data();
    pass.sequence = sequence.data();
    pass.base = base.data();
    pass.ancestorBegin = begin.data();
    pass.ancestors = ancestors.data();
    pass.pages = pages.data();
    return launch(pass, qkv, cut);
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
    Outputs result;
    const size_t width = static_cast<size_t>(shape_.heads) * headDim;
    for (int r = 0; r < pass.rows; ++r) result.emplace_back(out.begin() + r * width, out.begin() + (r + 1) * width);
    return result;
  }

  /// What pages hold before anybody writes: numbers, and none that would go unnoticed.
  static constexpr unsigned kStale = 0x41414141;

  Shape shape_;
  std::vector<float> frequency_;
  size_t headBytes_;
  std::vector<uint4> pool_;
};

inline std::vector<int32_t> orderedPages(int count) {
  std::vector<int32_t> pages(count);
  for (int i = 0; i < count; ++i) pages[i] = i;
  return pages;
}

inline int slotOf(const std::vector<int32_t>& pages, int position) {
  return pages[position / kPageSize] * kPageSize + position % kPageSize;
}

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

/// A head's part of a token's row, rotated if `position` is not negative, in double.
inline std::vector<double> headOf(const Shape& shape, const std::vector<float>& row, int head, int position) {
  const float* const x = row.data() + head * shape.headDim;
  std::vector<double> out(x, x + shape.headDim);
  if (position < 0) return out;
  const std::vector<float> frequency = frequencies(shape.headDim);
  const int half = shape.headDim / 2;
  for (int i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequency[i];
    const int a = shape.interleaved ? 2 * i : i, b = shape.interleaved ? 2 * i + 1 : i + half;
    out[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
    out[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
  }
  return out;
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
