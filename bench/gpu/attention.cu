#include "bench/gpu/attention.h"

#include <cmath>
#include <string>

#include "bench/gpu/device.cuh"
#include "bench/gpu/random_codes.h"
#include "bench/gpu/sequence_rows.h"
#include "cuda/attention/instances.h"
#include "cuda/step/pass_words.h"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

struct AttentionShape {
  int heads, kvHeads, headDim;
};
constexpr AttentionShape kModels[] = {{32, 8, 128}, {64, 8, 128}};

enum class Kind : uint8_t { tree, prompt };

/// Rows behind `context` positions: drafts of one tree, each below the one half as far from the root, or the prompt's
/// next ones.
SequenceRows rowsBehind(int context, int rows, Kind kind) {
  SequenceRows result(ceilDiv(context + rows, kPageSize) + 1);
  std::vector<std::vector<int32_t>> path;
  for (int r = 0; r < rows; ++r) {
    const int32_t slot = result.slotOf(context + r);
    if (kind == Kind::prompt) {
      result.add(context + r, slot, context + r + 1, {});
      continue;
    }
    path.push_back(r == 0 ? std::vector<int32_t>{} : path[static_cast<size_t>((r - 1) / 2)]);
    path.back().push_back(slot);
    result.add(context - 1 + static_cast<int32_t>(path.back().size()), slot, context, path.back());
  }
  return result;
}

/// One layer's attention of a pass, keys and values of as many layers as no cache holds in turn.
template <class Codec>
class Attending {
 public:
  Attending(const AttentionShape& shape, SequenceRows rows)
      : shape_(shape),
        layerBytes_(pageHeadBytes<Codec>(shape.headDim) * shape.kvHeads * rows.table.size()),
        layers_(copiesBeyondCache(layerBytes_)),
        pool_(randomCodes(layerBytes_ * static_cast<size_t>(layers_))) {
    const Pass pass = rows.pass(false);
    rows_ = pass.rows;
    PassWords words;
    words.begin(pass);
    words.addContext(pass, group());
    const auto all = words.words();
    words_ = DeviceArray<int32_t>(std::vector<int32_t>(all.begin(), all.end()));
    extent_ = {rows_, words.tiles(), ceilDiv(words.longest(), kSplit), words.tree()};
    const size_t values = static_cast<size_t>(rows_) * shape.heads * shape.headDim;
    queries_ = DeviceArray<uint16_t>(std::vector<uint16_t>(values, 0x3c00));
    out_ = DeviceArray<float>(values);
    if (extent_.splits > 1 && extent_.tiles * shape.kvHeads < 2 * multiprocessors())
      partials_ = DeviceArray<float>(static_cast<size_t>(rows_) * shape.heads * extent_.splits * (shape.headDim + 2));
  }

  size_t bytes() const { return layerBytes_; }
  double seconds() const {
    return medianSeconds([&](int i) {
      const KvPages kv{pool_.get() + layerBytes_ * static_cast<size_t>(i % layers_), layerBytes_ / pages(),
                       pageHeadBytes<Codec>(shape_.headDim), shape_.headDim, shape_.kvHeads};
      FORETOKEN_CUDA_CHECK(
          launchAttend<Codec>({words_.get(), queries_.get(), kv, shape_.heads, group(),
                               partials_.size() > 0 ? partials_.get() : nullptr, extent_.splits, out_.get()},
                              extent_, nullptr));
    });
  }

 private:
  int group() const { return shape_.heads / shape_.kvHeads; }
  size_t pages() const { return layerBytes_ / (pageHeadBytes<Codec>(shape_.headDim) * shape_.kvHeads); }

  const AttentionShape shape_;
  const size_t layerBytes_;
  const int layers_;
  int rows_ = 0;
  AttentionExtent extent_{};
  DeviceArray<uint8_t> pool_;
  DeviceArray<int32_t> words_{0};
  DeviceArray<uint16_t> queries_{0};
  DeviceArray<float> out_{0}, partials_{0};
};

template <class Codec>
void ofFormat(Report& report, const char* format, double ceiling) {
  constexpr int kPromptRows = 512, kPromptContext = 4096;
  for (const AttentionShape& shape : kModels) {
    const std::string name = std::string("attention.") + format + "." + std::to_string(shape.heads) + "x" +
                             std::to_string(shape.kvHeads) + "x" + std::to_string(shape.headDim) + ".c";
    for (const int context : {1024, 8192, 32768})
      for (const int rows : {1, 8, 64}) {
        const Attending<Codec> attending(shape, rowsBehind(context, rows, Kind::tree));
        const double seconds = attending.seconds();
        const std::string key = name + std::to_string(context) + ".m" + std::to_string(rows);
        report.add(key + ".us", 1e6 * seconds);
        report.add(key + ".share", static_cast<double>(attending.bytes()) / seconds / ceiling);
      }
    const double seconds = Attending<Codec>(shape, rowsBehind(kPromptContext, kPromptRows, Kind::prompt)).seconds();
    const std::string key = name + std::to_string(kPromptContext) + ".prompt" + std::to_string(kPromptRows);
    const double seen = kPromptRows * (kPromptContext + (kPromptRows + 1) / 2.0);  // positions, of all rows
    report.add(key + ".us", 1e6 * seconds);
    report.add(key + ".tflops", 4e-12 * seen * shape.heads * shape.headDim / seconds);
  }
}

}  // namespace

void attention(Report& report, double ceiling) {
  ofFormat<Bf16Kv>(report, "bf16", ceiling);
  ofFormat<Fp8Kv>(report, "fp8", ceiling);
}

}  // namespace foretoken::bench
