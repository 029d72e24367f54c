// Named tensors that lie one after the other in one run of floats: weights, gradients and moments of a head share one
// layout, so that an optimiser, a checkpoint and a swap see plain runs.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/error.h"

namespace foretoken::train {

struct Parameter {
  std::string name;
  int64_t rows, columns;  ///< a vector is one row
  int64_t offset;         ///< of its first float

  int64_t size() const { return rows * columns; }
  bool isMatrix() const { return rows > 1; }
};

class Parameters {
 public:
  /// Adds a tensor behind the others and returns its index. Tensors start at multiples of 16 floats; what lies between
  /// them stays 0.
  int64_t add(std::string name, int64_t rows, int64_t columns) {
    constexpr int64_t kAligned = 16;
    const int64_t offset = size_;
    all_.push_back({std::move(name), rows, columns, offset});
    size_ = (offset + rows * columns + kAligned - 1) / kAligned * kAligned;
    return static_cast<int64_t>(all_.size()) - 1;
  }
  const std::vector<Parameter>& all() const { return all_; }
  const Parameter& operator[](int64_t index) const { return all_[index]; }
  /// The tensor of this name, which has to be there.
  const Parameter& find(const std::string& name) const {
    const auto found = std::find_if(all_.begin(), all_.end(), [&](const Parameter& p) { return p.name == name; });
    if (found == all_.end()) throw Error("INTERNAL_ERROR", "a draft head has no '" + name + "'");
    return *found;
  }
  /// Floats of the whole run.
  int64_t size() const { return size_; }

 private:
  std::vector<Parameter> all_;
  int64_t size_ = 0;
};

}  // namespace foretoken::train
