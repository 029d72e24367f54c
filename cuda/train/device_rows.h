// Rows of heads learn on the device: a low-priority stream beside decoding, which gives way to it after each launch.
#pragma once
#include "cuda/common/memory.cuh"
#include "learn/row_steps.h"

namespace foretoken::cuda {

class DeviceRowSteps final : public learn::RowSteps {
 public:
  explicit DeviceRowSteps(int device);
  int64_t step(const learn::RowSlots&, learn::MovedRows&, const learn::RowOptions&) override;
  size_t deviceBytes() const override { return memory_.size(); }

 private:
  const int device_;
  Stream stream_;
  DeviceMemory memory_;
};

}  // namespace foretoken::cuda
