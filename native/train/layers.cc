#include "train/layers.h"

namespace foretoken::train {
namespace {

int64_t place(Parameters& parameters, const std::string& name, int64_t rows, int64_t columns) {
  return parameters[parameters.add(name + ".weight", rows, columns)].offset;
}

}  // namespace

LinearLayer::LinearLayer(Parameters& parameters, const std::string& name, int64_t outputs, int64_t inputs)
    : outputs_(outputs), inputs_(inputs), offset_(place(parameters, name, outputs, inputs)) {}

void LinearLayer::forward(const LayerPass& pass, const float* x, int64_t rows, float* y, bool addTo) const {
  pass.ops.linear(x, pass.weight + offset_, rows, inputs_, outputs_, y, addTo);
}

void LinearLayer::backward(const LayerPass& pass, const float* x, const float* dy, int64_t rows, float* dx,
                           bool addTo) const {
  pass.ops.linearBackward(x, pass.weight + offset_, dy, rows, inputs_, outputs_, dx, pass.gradient + offset_, addTo);
}

NormLayer::NormLayer(Parameters& parameters, const std::string& name, int64_t width, float epsilon)
    : width_(width), offset_(place(parameters, name, 1, width)), epsilon_(epsilon) {}

void NormLayer::forward(const LayerPass& pass, const float* x, int64_t rows, float* y, float* inverse) const {
  pass.ops.norm(x, pass.weight + offset_, epsilon_, rows, width_, y, inverse);
}

void NormLayer::backward(const LayerPass& pass, const float* x, const float* inverse, const float* dy, int64_t rows,
                         float* dx) const {
  pass.ops.normBackward(x, pass.weight + offset_, inverse, dy, rows, width_, dx, pass.gradient + offset_);
}

MlpLayer::MlpLayer(Parameters& parameters, const std::string& prefix, int64_t width, int64_t inner, float epsilon)
    : width_(width),
      inner_(inner),
      norm_(parameters, prefix + "mlp_norm", width, epsilon),
      gate_(parameters, prefix + "mlp.gate", inner, width),
      up_(parameters, prefix + "mlp.up", inner, width),
      down_(parameters, prefix + "mlp.down", width, inner) {}

void MlpLayer::forward(const LayerPass& pass, int64_t rows, float* x, Saved& saved) const {
  saved.x.assign(x, x + rows * width_);
  saved.inverse.resize(rows), saved.y.resize(rows * width_);
  for (Floats* inner : {&saved.gate, &saved.up, &saved.product}) inner->resize(rows * inner_);
  norm_.forward(pass, x, rows, saved.y.data(), saved.inverse.data());
  gate_.forward(pass, saved.y.data(), rows, saved.gate.data());
  up_.forward(pass, saved.y.data(), rows, saved.up.data());
  pass.ops.swiglu(saved.gate.data(), saved.up.data(), rows, inner_, saved.product.data());
  down_.forward(pass, saved.product.data(), rows, x, true);
}

void MlpLayer::backward(const LayerPass& pass, int64_t rows, const Saved& saved, float* dx) const {
  Floats dgate(rows * inner_), dup(rows * inner_), dy(rows * width_);
  down_.backward(pass, saved.product.data(), dx, rows, dgate.data(), false);
  pass.ops.swigluBackward(saved.gate.data(), saved.up.data(), dgate.data(), rows, inner_, dgate.data(), dup.data());
  gate_.backward(pass, saved.y.data(), dgate.data(), rows, dy.data());
  up_.backward(pass, saved.y.data(), dup.data(), rows, dy.data());
  norm_.backward(pass, saved.x.data(), saved.inverse.data(), dy.data(), rows, dx);
}

AttentionLayer::AttentionLayer(Parameters& parameters, const std::string& prefix, const Heads& heads, int64_t inputs,
                               int64_t width)
    : heads_(heads),
      q_(parameters, prefix + "attention.q", heads.queries * heads.width, inputs),
      k_(parameters, prefix + "attention.k", heads.keys * heads.width, inputs),
      v_(parameters, prefix + "attention.v", heads.keys * heads.width, inputs),
      o_(parameters, prefix + "attention.o", width, heads.queries * heads.width) {}

void AttentionLayer::keys(const LayerPass& pass, const RotaryTable& table, const float* x,
                          std::span<const int32_t> position, float* key, float* value) const {
  const auto rows = static_cast<int64_t>(position.size());
  k_.forward(pass, x, rows, key);
  v_.forward(pass, x, rows, value);
  pass.ops.rotate(key, table, position, heads_.keys);
}

void AttentionLayer::keysBackward(const LayerPass& pass, const RotaryTable& table, const float* x,
                                  std::span<const int32_t> position, float* dkey, const float* dvalue,
                                  float* dx) const {
  const auto rows = static_cast<int64_t>(position.size());
  pass.ops.rotate(dkey, table, position, heads_.keys, true);
  k_.backward(pass, x, dkey, rows, dx);
  v_.backward(pass, x, dvalue, rows, dx);
}

void AttentionLayer::forward(const LayerPass& pass, const RotaryTable& table, const AttentionPlan& plan, const float* x,
                             std::span<const int32_t> position, const float* key, const float* value, float* y,
                             Saved& saved) const {
  const auto rows = static_cast<int64_t>(position.size());
  saved.q.resize(rows * q_.outputs()), saved.out.resize(saved.q.size()), saved.logSum.resize(rows * heads_.queries);
  q_.forward(pass, x, rows, saved.q.data());
  pass.ops.rotate(saved.q.data(), table, position, heads_.queries);
  pass.ops.attend(heads_, plan, saved.q.data(), key, value, saved.out.data(), saved.logSum.data());
  o_.forward(pass, saved.out.data(), rows, y, true);
}

void AttentionLayer::backward(const LayerPass& pass, const RotaryTable& table, const AttentionPlan& plan,
                              const float* x, std::span<const int32_t> position, const float* key, const float* value,
                              const Saved& saved, const float* dy, float* dkey, float* dvalue, float* dx) const {
  const auto rows = static_cast<int64_t>(position.size());
  Floats dout(saved.out.size()), dq(saved.q.size());
  o_.backward(pass, saved.out.data(), dy, rows, dout.data());
  pass.ops.attendBackward(heads_, plan, saved.q.data(), key, value, saved.out.data(), saved.logSum.data(), dout.data(),
                          dq.data(), dkey, dvalue);
  pass.ops.rotate(dq.data(), table, position, heads_.queries, true);
  q_.backward(pass, x, dq.data(), rows, dx);
}

FusionLayer::FusionLayer(Parameters& parameters, int64_t fused, int64_t width, float epsilon)
    : fused_(fused),
      width_(width),
      norms_([&] {
        std::vector<NormLayer> norms;
        for (int64_t l = 0; l < fused; ++l)
          norms.emplace_back(parameters, "feature_norms." + std::to_string(l), width, epsilon);
        return norms;
      }()),
      fc_(parameters, "fc", width, fused * width) {}

// fc is a sum over fused layers, each with its own columns of the weight: no row is ever put together.

void FusionLayer::forward(const LayerPass& pass, std::span<const float* const> features, int64_t rows, float* g,
                          Saved& saved) const {
  saved.y.resize(fused_), saved.inverse.resize(fused_);
  for (int64_t l = 0; l < fused_; ++l) {
    saved.y[l].resize(rows * width_), saved.inverse[l].resize(rows);
    norms_[l].forward(pass, features[l], rows, saved.y[l].data(), saved.inverse[l].data());
    const MatrixView columns{pass.weight + fc_.offset() + l * width_, width_, width_, fc_.inputs(), 1};
    pass.ops.gemm().multiply(rowsOf(saved.y[l].data(), rows, width_), columns.transposed(), g, l > 0);
  }
}

void FusionLayer::backward(const LayerPass& pass, std::span<const float* const> features, int64_t rows,
                           const Saved& saved, const float* dg) const {
  const MatrixView gradient = rowsOf(dg, rows, width_);
  Floats dy(rows * width_);
  for (int64_t l = 0; l < fused_; ++l) {
    const int64_t at = fc_.offset() + l * width_;
    const MatrixView columns{pass.weight + at, width_, width_, fc_.inputs(), 1};
    pass.ops.gemm().multiply(gradient, columns, dy.data());
    pass.ops.gemm().multiply(gradient.transposed(), rowsOf(saved.y[l].data(), rows, width_), pass.gradient + at,
                             fc_.inputs(), true);
    norms_[l].backward(pass, features[l], saved.inverse[l].data(), dy.data(), rows, nullptr);
  }
}

}  // namespace foretoken::train
