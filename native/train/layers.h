// What draft heads are made of: layers that own parameters, run forward keeping what their backward needs, and run
// backward adding to the gradients of parameters and inputs.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "train/ops.h"
#include "train/parameters.h"

namespace foretoken::train {

using Floats = std::vector<float>;

/// What a layer runs with: weights and their gradients in the layout of its parameters.
struct LayerPass {
  Ops& ops;
  const float* weight;
  float* gradient;
};

class LinearLayer {
 public:
  LinearLayer(Parameters& parameters, const std::string& name, int64_t outputs, int64_t inputs);

  /// y = x w^T, or += with `addTo`.
  void forward(const LayerPass&, const float* x, int64_t rows, float* y, bool addTo = false) const;
  /// dx may be null; it is overwritten unless `addTo`.
  void backward(const LayerPass&, const float* x, const float* dy, int64_t rows, float* dx, bool addTo = true) const;

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t offset() const { return offset_; }

 private:
  int64_t outputs_, inputs_, offset_;
};

class NormLayer {
 public:
  NormLayer(Parameters& parameters, const std::string& name, int64_t width, float epsilon);

  /// inverse [rows] is for backward.
  void forward(const LayerPass&, const float* x, int64_t rows, float* y, float* inverse) const;
  /// dx is added to and may be null.
  void backward(const LayerPass&, const float* x, const float* inverse, const float* dy, int64_t rows, float* dx) const;

 private:
  int64_t width_, offset_;
  float epsilon_;
};

/// x += down(silu(gate y) up y) with y = norm(x).
class MlpLayer {
 public:
  struct Saved {
    Floats x, inverse, y, gate, up, product;
  };
  MlpLayer(Parameters& parameters, const std::string& prefix, int64_t width, int64_t inner, float epsilon);

  void forward(const LayerPass&, int64_t rows, float* x, Saved&) const;
  /// dx: of the output before, of the input after.
  void backward(const LayerPass&, int64_t rows, const Saved&, float* dx) const;

 private:
  int64_t width_, inner_;
  NormLayer norm_;
  LinearLayer gate_, up_, down_;
};

/// Attention of rows with rotated queries over keys and values that other rows gave (context) and these rows give
/// (their own draft), all in one matrix.
class AttentionLayer {
 public:
  struct Saved {
    Floats q, out, logSum;
  };
  AttentionLayer(Parameters& parameters, const std::string& prefix, const Heads& heads, int64_t inputs, int64_t width);

  int64_t keyWidth() const { return heads_.keys * heads_.width; }

  /// Keys and values [rows, keyWidth] of x at `position`.
  void keys(const LayerPass&, const RotaryTable&, const float* x, std::span<const int32_t> position, float* key,
            float* value) const;
  /// Adds to dx, which may be null; dkey is used up.
  void keysBackward(const LayerPass&, const RotaryTable&, const float* x, std::span<const int32_t> position,
                    float* dkey, const float* dvalue, float* dx) const;

  /// y += the output of rows x at `position`, which see what the plan says.
  void forward(const LayerPass&, const RotaryTable&, const AttentionPlan&, const float* x,
               std::span<const int32_t> position, const float* key, const float* value, float* y, Saved&) const;
  /// Adds to dkey, dvalue and dx.
  void backward(const LayerPass&, const RotaryTable&, const AttentionPlan&, const float* x,
                std::span<const int32_t> position, const float* key, const float* value, const Saved&, const float* dy,
                float* dkey, float* dvalue, float* dx) const;

 private:
  Heads heads_;
  LinearLayer q_, k_, v_, o_;
};

/// g = fc [norm_l(f_l) for each fused layer l of the target]. Features are not trained.
class FusionLayer {
 public:
  struct Saved {
    std::vector<Floats> y, inverse;  ///< of each fused layer
  };
  FusionLayer(Parameters& parameters, int64_t fused, int64_t width, float epsilon);

  /// features: of each fused layer [rows, width].
  void forward(const LayerPass&, std::span<const float* const> features, int64_t rows, float* g, Saved&) const;
  void backward(const LayerPass&, std::span<const float* const> features, int64_t rows, const Saved&,
                const float* dg) const;

 private:
  int64_t fused_, width_;
  std::vector<NormLayer> norms_;
  LinearLayer fc_;
};

}  // namespace foretoken::train
