// The `prediction` drafter: the caller knows roughly what will come (an edited file, a filled form) and gave it as
// text.
//
// A pointer walks along the prediction as long as the output agrees. Where they part, the drafter looks for the place
// where the output's last tokens occur in the prediction, nearest ahead of where the pointer was, and goes on from
// there.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"
#include "speculate/segment.h"

namespace foretoken {

class PredictionDrafter final : public Drafter {
 public:
  explicit PredictionDrafter(std::span<const int32_t> prediction);
  DrafterId id() const override { return DrafterId::prediction; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;
  size_t bytes() const { return sizeof(int32_t) * prediction_.size() + index_.bytes(); }

 private:
  void follow(std::span<const int32_t> output);
  bool synchronise(std::span<const int32_t> output);

  std::vector<int32_t> prediction_;
  TextSegment index_;
  std::vector<Voter> voters_;
  size_t seen_ = 0;     ///< output tokens compared so far
  size_t pointer_ = 0;  ///< next predicted token
  int agreed_ = 2;      ///< tokens in a row that came as predicted; the caller's word counts for two at the start
  bool aligned_ = true;
};

}  // namespace foretoken
