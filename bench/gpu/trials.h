// Kernels and what is made of them on small, odd shapes: what a device makes of them is compared with what the executor
// of cuda/simt does, whose tests hold it to double references. Over nvcc and over the executor alike.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "cuda/common/pipeline.cuh"

namespace foretoken::bench {

struct Trial {
  std::string name;
  cuda::MatrixUnit unit;  ///< that it is about; none: every device can
  double tolerance;       ///< 0: the same bits
  std::function<std::vector<float>()> run;
};

/// All of them, in an order that stays as it is.
std::vector<Trial> trials();

/// The largest difference, in parts of the largest magnitude; infinite where numbers are missing or not finite.
double deviation(const std::vector<float>& got, const std::vector<float>& expected);

// What trials() is made of.
std::vector<Trial> backendTrials();
std::vector<Trial> draftTrials();
std::vector<Trial> productTrials();
std::vector<Trial> trainingTrials();

}  // namespace foretoken::bench
