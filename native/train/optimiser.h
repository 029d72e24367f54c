// Steps of training over all tensors of a head at once: AdamW, SGD with momentum, and Muon for matrices, after the
// gradient is clipped to a global norm. A gradient that is not finite changes nothing and is reported.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "train/ops.h"
#include "train/parameters.h"

namespace foretoken::train {

/// How a tensor moves. Muon (Jordan, 2024) takes the momentum of a matrix to the nearest orthogonal one, so that all
/// directions move alike; its steps are scaled to the size of AdamW's (0.2 sqrt(larger side)), to share its rate.
enum class Rule : uint8_t { frozen, sgd, adamw, muon };

struct OptimiserOptions {
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f;  ///< AdamW
  float momentum = 0.95f;                              ///< SGD and Muon
  float decay = 0;                                     ///< of weights; apart from the gradient in AdamW and Muon
  float clip = 1;                                      ///< largest global norm of the gradient
};

struct StepReport {
  double norm = 0;        ///< of the whole gradient, before clipping
  bool skipped = false;   ///< the gradient is not finite: nothing moved
  std::string notFinite;  ///< the first tensor with such a gradient
};

/// The rate over a run: linear warm-up to the peak, then a cosine down to `floor` times the peak.
struct Schedule {
  float peak;
  int64_t warmup, total;
  float floor = 0.1f;
  /// Rate of a step, counted from 0.
  float at(int64_t step) const;
};

/// AdamW's step number `step`, counted from 1.
formula::AdamW adamwAt(int64_t step, float rate, const OptimiserOptions&);

class Optimiser {
 public:
  /// rules: of each parameter; Muon only for matrices (SHAPE_MISMATCH otherwise).
  Optimiser(Ops&, const Parameters&, std::vector<Rule> rules, OptimiserOptions);

  StepReport step(float rate, const float* gradient, float* weight);

  /// Everything that a checkpoint has to keep beside the weights: first moments, then second moments, of what moves.
  std::span<float> moments() { return moments_; }
  std::span<const float> moments() const { return moments_; }
  /// Steps taken, which AdamW corrects its moments by.
  int64_t steps() const { return steps_; }
  void setSteps(int64_t steps) { steps_ = steps; }

 private:
  double squares(const float* x, int64_t count);
  void adamw(const Parameter&, float* moment, float rate, float scale, const float* gradient, float* weight);
  void sgd(const Parameter&, float* moment, float rate, float scale, const float* gradient, float* weight);
  void muon(const Parameter&, float* moment, float rate, float scale, const float* gradient, float* weight);
  void orthogonalise(int64_t rows, int64_t columns);

  Ops& ops_;
  const Parameters& parameters_;
  std::vector<Rule> rules_;
  OptimiserOptions options_;
  std::vector<int64_t> first_;  ///< where the first moments of each tensor begin; frozen ones have none
  std::vector<float> moments_;
  std::vector<double> partial_;
  std::vector<float> x_, y_, a_, b_;  ///< of Muon
  int64_t steps_ = 0;
};

}  // namespace foretoken::train
