// A backend whose products have other bits in passes of prompts than in all others, as those of a device may.
#pragma once
#include <vector>

#include "engine/timed_backend.h"

namespace foretoken::test {

class TwoPhaseBackend final : public TimedBackend {
 public:
  using TimedBackend::TimedBackend;
  bool promptsDiffer() const override { return true; }
  void linear(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
              Epilogue epilogue) override {
    inner().linear(pass, w, in, norm, eps, out, epilogue);
    if (!pass.prompts) return;
    values_.assign(inner().read(out, pass.rows), inner().read(out, pass.rows) + pass.rows * out.width());
    for (size_t i = 0; i < values_.size(); ++i) values_[i] *= i % out.width() % 3 == 0 ? 1.125f : 0.9375f;
    inner().write(out, values_.data(), pass.rows);
  }

 private:
  std::vector<float> values_;
};

}  // namespace foretoken::test
