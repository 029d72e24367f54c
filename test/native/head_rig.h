// A draft head with weights that say something, for a tiny target.
#pragma once
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "fixtures.h"
#include "head/head_weights.h"
#include "learn/verified_text.h"
#include "quant/float_codecs.h"
#include "train/target_text.h"
#include "train_rig.h"

namespace foretoken::test {

/// A head of every fixture's target: every third token can be drafted, one of them in another's place, and it adds to
/// some output rows.
struct HeadRig {
  explicit HeadRig(const std::string& model, uint64_t seed = 1)
      : target(fixture("models/" + model), "f32", "", {2, ""}) {
    const ModelConfig& config = target.config();
    for (int32_t t = 0; t < config.vocabulary; t += 3) draft.push_back(t);
    draft.resize(draft.size() / 16 * 16);
    draft[3] = draft.back() + 2;
    delta.place = {1, 5, static_cast<int32_t>(draft.size()) - 1};
    delta.row = randomValues(3 * config.width, static_cast<uint32_t>(seed), 0.5f);
    fused = {0, config.layers};
    shape = train::headShapeFor(config, 2, static_cast<int64_t>(draft.size()), 8, 4);
    shape.layers = 2;
    const train::BlockHead head(shape);
    weights = head.initial(seed, 4);
    for (const train::Parameter& p : head.parameters().all()) {
      const bool isZero = p.name == "after" || p.name.ends_with(".o.weight") || p.name.ends_with(".down.weight");
      const Floats noise =
          randomValues(p.size(), static_cast<uint32_t>(seed + p.offset), 1 / std::sqrt(static_cast<float>(p.columns)));
      for (int64_t i = 0; i < p.size() && isZero; ++i) weights[p.offset + i] = noise[i];
    }
  }
  HeadSource source() const { return {shape, fused, draft, weights, delta}; }

  train::TrainTarget target;
  train::BlockHeadShape shape;
  std::vector<int> fused;
  std::vector<int32_t> draft;
  train::OutputDelta delta;
  Floats weights;
};

/// Wants texts, so that features of what was computed are asked for, and does nothing with them.
struct Texted : TextSink {
  void ended(VerifiedText) override {}
  std::function<void()> forgetting(const std::string*) override {
    return [] {};
  }
  void weightsMoved(std::shared_ptr<const Model>, std::shared_ptr<const HeadWeights>) override {}
};

}  // namespace foretoken::test
