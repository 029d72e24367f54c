#include "head/head_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "common/error.h"
#include "model/requantize.h"
#include "train/head_fit.h"

namespace foretoken {
namespace {

using train::BlockHead;
using train::BlockHeadShape;
using train::Parameter;
using train::Parameters;

constexpr size_t kAlignment = 64;
/// Rows of a target's matrix that are expanded at a time.
constexpr int kRowsAtOnce = 256;

/// Named tensors of a head.
class Tensors {
 public:
  Tensors(const HeadSource& source, const Parameters& layout) : weights_(source.weights), layout_(layout) {}

  std::vector<float> operator()(const std::string& name) const {
    const Parameter& p = layout_.find(name);
    return {weights_.begin() + p.offset, weights_.begin() + p.offset + p.size()};
  }
  /// Columns [first, first + count) of a matrix.
  std::vector<float> columns(const std::string& name, int64_t first, int64_t count) const {
    const Parameter& p = layout_.find(name);
    std::vector<float> out;
    out.reserve(p.rows * count);
    for (int64_t r = 0; r < p.rows; ++r) {
      const auto row = weights_.begin() + p.offset + r * p.columns + first;
      out.insert(out.end(), row, row + count);
    }
    return out;
  }
  /// Matrices one below the other.
  std::vector<float> stacked(std::initializer_list<std::string> names) const {
    std::vector<float> out;
    for (const std::string& name : names) {
      const std::vector<float> part = (*this)(name);
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }
  /// A row of each in turn.
  std::vector<float> interleaved(const std::string& first, const std::string& second) const {
    const std::vector<float> a = (*this)(first), b = (*this)(second);
    const int64_t columns = layout_.find(first).columns;
    std::vector<float> out;
    out.reserve(a.size() + b.size());
    for (size_t row = 0; row < a.size(); row += columns) {
      out.insert(out.end(), a.begin() + row, a.begin() + row + columns);
      out.insert(out.end(), b.begin() + row, b.begin() + row + columns);
    }
    return out;
  }

 private:
  std::span<const float> weights_;
  const Parameters& layout_;
};

std::string layerName(int64_t l, const char* part) { return "layers." + std::to_string(l) + "." + part; }

/// In the order of HeadWeights::kJoinToken and so on.
std::shared_ptr<const MatrixSet> packedLayers(const BlockHeadShape& shape, const Tensors& tensors, Backend& packing,
                                              Format format) {
  const int64_t width = shape.width, inner = shape.inner, queries = shape.heads.queries * shape.heads.width,
                keys = shape.heads.keys * shape.heads.width;
  auto matrices = std::make_shared<MatrixSet>();
  matrices->add(format, width, width, tensors.columns("join.weight", 0, width));
  matrices->add(format, width, width, tensors.columns("join.weight", width, width));
  matrices->add(format, width, width, tensors("inject.weight"));
  std::vector<float> masks(width);
  const std::vector<float> others = tensors("mask");
  masks.insert(masks.end(), others.begin(), others.end());
  matrices->add(Format::f32, shape.slots, width, std::move(masks));
  for (int64_t l = 0; l < shape.layers; ++l) {
    matrices->add(format, queries + 2 * keys, width,
                  tensors.stacked({layerName(l, "attention.q.weight"), layerName(l, "attention.k.weight"),
                                   layerName(l, "attention.v.weight")}));
    matrices->add(format, width, queries, tensors(layerName(l, "attention.o.weight")));
    matrices->add(format, 2 * inner, width,
                  tensors.interleaved(layerName(l, "mlp.gate.weight"), layerName(l, "mlp.up.weight")));
    matrices->add(format, width, inner, tensors(layerName(l, "mlp.down.weight")));
  }
  matrices->pack(packing);
  return matrices;
}

void requireWhole(const HeadSource& source, const Parameters& layout) {
  const bool whole = static_cast<int64_t>(source.weights.size()) == layout.size() &&
                     static_cast<int64_t>(source.fusedLayers.size()) == source.shape.fused &&
                     static_cast<int64_t>(source.draft.size()) == source.shape.vocabulary &&
                     source.delta.row.size() == source.delta.place.size() * source.shape.width;
  if (!whole) throw Error("INTERNAL_ERROR", "numbers of a draft head that are not of its shape");
}

}  // namespace

void overRows(const Matrix& matrix, std::span<const int32_t> rows, Backend& backend,
              const std::function<void(const float*)>& each) {
  const auto expanded = backend.tensor(kRowsAtOnce, matrix.cols());
  for (size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
    Pass pass;
    pass.rows = static_cast<int>(std::min<size_t>(kRowsAtOnce, rows.size() - first));
    pass.token = rows.data() + first;
    backend.embed(pass, matrix, *expanded);
    const float* const values = backend.read(*expanded, pass.rows);
    for (int r = 0; r < pass.rows; ++r) each(values + r * matrix.cols());
  }
}

std::vector<float> rowsOf(const Matrix& matrix, std::span<const int32_t> rows, Backend& backend) {
  std::vector<float> out;
  out.reserve(rows.size() * matrix.cols());
  overRows(matrix, rows, backend, [&](const float* row) { out.insert(out.end(), row, row + matrix.cols()); });
  return out;
}

int MatrixSet::add(Format format, int64_t rows, int64_t cols, std::vector<float> values) {
  if (format == Format::q8_0 && cols % blockShape(FileType::q8_0).elements != 0) format = Format::bf16;
  planned_.push_back({format, rows, cols, std::move(values)});
  return static_cast<int>(planned_.size()) - 1;
}

void MatrixSet::pack(Backend& packing) {
  const auto bytesOf = [&](const Planned& m) {
    return (packing.packedBytes(m.format, m.rows, m.cols) + kAlignment - 1) / kAlignment * kAlignment;
  };
  size_t offset = 0;
  for (const Planned& m : planned_) offset += bytesOf(m);
  memory_ = Memory(offset, "a draft head");
  offset = 0;
  for (const Planned& m : planned_) {
    MatrixSource source{FileType::f32, m.values.data(), m.rows, m.cols};
    std::vector<uint8_t> blocks;
    if (m.format == Format::q8_0) {
      const BlockShape shape = blockShape(FileType::q8_0);
      blocks.resize(m.values.size() / shape.elements * shape.bytes);
      convertBlocks(FileType::f32, m.values.data(), FileType::q8_0, blocks.data(),
                    static_cast<int64_t>(m.values.size()));
      source.type = FileType::q8_0, source.data = blocks.data();
    }
    packing.pack(m.format, {&source, 1}, false, memory_.data() + offset);
    packed_.push_back(packing.matrix(m.format, m.rows, m.cols, memory_.data() + offset));
    offset += bytesOf(m);
  }
  planned_.clear();
}

HeadContext::HeadContext(const HeadSource& source, const Parameters& layout, Backend& packing, Format format)
    : width_(source.shape.width), fused_(source.shape.fused) {
  static std::atomic<uint32_t> serials{0};
  serial_ = ++serials;
  const BlockHeadShape& s = source.shape;
  const Tensors tensors(source, layout);
  for (int64_t l = 0; l < fused_; ++l) {
    const std::vector<float> norm = tensors("feature_norms." + std::to_string(l) + ".weight");
    featureNorms_.insert(featureNorms_.end(), norm.begin(), norm.end());
    matrices_.add(format, width_, width_, tensors.columns("fc.weight", l * width_, width_));
  }
  norm_ = tensors("context_norm.weight");
  for (int64_t l = 0; l < s.layers; ++l)
    matrices_.add(format, 2 * s.heads.keys * s.heads.width, width_,
                  tensors.stacked({layerName(l, "attention.k.weight"), layerName(l, "attention.v.weight")}));
  matrices_.pack(packing);
  for (int64_t i = 0; i < s.heads.width / 2; ++i)
    frequency_.push_back(
        static_cast<float>(std::pow(s.rotaryBase, -2 * static_cast<double>(i) / static_cast<double>(s.heads.width))));
}

HeadWeights::HeadWeights(const HeadSource& source, const Model& target, Backend& packing, const HeadFormats& formats,
                         HeadParts shared)
    : parts_(std::move(shared)), outputFormat_(formats.output) {
  const BlockHeadShape& shape = source.shape;
  const Parameters layout = BlockHead::layoutOf(shape);
  train::requireFit(shape, source.fusedLayers, source.draft, target.config());
  requireWhole(source, layout);
  if (!parts_.context) parts_.context = std::make_shared<const HeadContext>(source, layout, packing, formats.own);
  const Tensors tensors(source, layout);
  auto own = std::make_shared<Own>();
  own->shape = shape, own->fusedLayers = source.fusedLayers, own->draft = source.draft, own->delta = source.delta;
  own->place = train::placesOf(source.draft, target.config().vocabulary);
  own->tokenNorm = tensors("token_norm.weight"), own->outputNorm = tensors("output_norm.weight");
  own->before = tensors("before.weight"), own->after = tensors("after");
  if (!parts_.layers) parts_.layers = packedLayers(shape, tensors, packing, formats.own);
  for (int l = 0; l < static_cast<int>(shape.layers); ++l) {
    own->layerNorms.push_back(tensors(layerName(l, "attention_norm.weight")));
    own->layerNorms.push_back(tensors(layerName(l, "mlp_norm.weight")));
  }
  for (int l = 0; l < static_cast<int>(shape.layers); ++l) {
    const auto matrix = [&](int part) { return &(*parts_.layers)[kBlockMatrices + 4 * l + part]; };
    own->layers.push_back(
        {own->layerNorms[2 * l].data(), own->layerNorms[2 * l + 1].data(), matrix(0), matrix(1), matrix(2), matrix(3)});
  }
  own_ = std::move(own);
  if (!parts_.output) parts_.output = outputOf(target, packing);
}

size_t HeadWeights::bytes() const {
  return parts_.layers->bytes() + parts_.output->bytes() + parts_.context->bytes() +
         (own_->before.size() + own_->after.size()) * sizeof(float);
}

size_t HeadWeights::bytesBeside(const HeadWeights& other) const {
  size_t shared = 0;
  if (parts_.context == other.parts_.context) shared += parts_.context->bytes();
  if (parts_.layers == other.parts_.layers) shared += parts_.layers->bytes();
  if (parts_.output == other.parts_.output) shared += parts_.output->bytes();
  return bytes() - shared;
}

std::shared_ptr<const MatrixSet> HeadWeights::outputOf(const Model& target, Backend& packing) const {
  std::vector<float> rows = rowsOf(target.output(), own_->draft, packing);
  const int64_t width = own_->shape.width;
  for (size_t i = 0; i < own_->delta.place.size(); ++i)
    for (int64_t c = 0; c < width; ++c) rows[own_->delta.place[i] * width + c] += own_->delta.row[i * width + c];
  auto result = std::make_shared<MatrixSet>();
  result->add(outputFormat_, own_->shape.vocabulary, width, std::move(rows));
  result->pack(packing);
  return result;
}

std::shared_ptr<const HeadWeights> HeadWeights::updated(const Model& target, Backend& packing) const {
  std::shared_ptr<HeadWeights> result(new HeadWeights(*this));
  result->parts_.output = outputOf(target, packing);
  return result;
}

float HeadWeights::markov(int32_t previous, int32_t next) const {
  const int64_t rank = own_->shape.rank;
  const float* const before = own_->before.data() + previous * rank;
  const float* const after = own_->after.data() + next * rank;
  float sum = 0;
  for (int64_t i = 0; i < rank; ++i) sum += after[i] * before[i];
  return sum;
}

}  // namespace foretoken
