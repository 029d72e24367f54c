// The `prediction` drafter: the caller knows roughly what will come (an edited file, a filled form) and gave it as
// text.
//
// A pointer walks along the prediction as long as the output agrees. Where they part, the drafter looks for the place
// where the output's last tokens occur in the prediction, nearest ahead of where they last agreed, and goes on from
// there. A place that goes on otherwise than the output was only a trial: it does not move where they last agreed.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

class PredictionDrafter final : public Drafter {
 public:
  explicit PredictionDrafter(std::span<const int32_t> prediction);
  DrafterId id() const override { return DrafterId::prediction; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;
  size_t bytes() const { return sizeof(int32_t) * prediction_.size(); }

 private:
  void follow(std::span<const int32_t> output);
  bool synchronise(std::span<const int32_t> output);

  std::vector<int32_t> prediction_;
  size_t seen_ = 0;     ///< output tokens compared so far
  size_t pointer_ = 0;  ///< next predicted token
  size_t anchor_ = 0;   ///< where the pointer came to when it last predicted two tokens or more in a row
  int right_ = 0;       ///< tokens that came as predicted since the last alignment, up to two
  int agreed_ = 2;      ///< tokens in a row that came as predicted; the caller's word counts for two at the start
  bool aligned_ = true;
};

}  // namespace foretoken
