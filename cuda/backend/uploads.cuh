// What a pass needs from the host: copied into pinned memory first, so that the caller may change it at once, and from
// there to the device in the stream's order.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "cuda/common/memory.cuh"

namespace foretoken::cuda {

/// A place on the device that is written from the host again and again. Its address stays unless it has to grow.
class Upload {
 public:
  size_t room() const { return device_.size(); }
  void reserve(size_t bytes, Stream& stream) {
    if (bytes <= room()) return;
    stream.synchronise();
    const size_t enough = std::max(bytes, 2 * room());
    device_ = {};
    for (PinnedMemory& part : staging_) part.renew(enough);
    device_ = DeviceMemory(enough);  // last: what has room() is staged, too
  }
  /// There must be room.
  void send(const void* from, size_t bytes, Stream& stream) {
    if (bytes == 0) return;
    Event& free = free_[turn_];
    free.wait();
    std::memcpy(staging_[turn_].data(), from, bytes);
    stream.copyIn(device_.data(), staging_[turn_].data(), bytes);
    free.record(stream);
    turn_ = (turn_ + 1) % kTurns;
  }
  template <class T>
  const T* as() const {
    return device_.as<const T>();
  }

 private:
  static constexpr int kTurns = 4;
  DeviceMemory device_;
  std::array<PinnedMemory, kTurns> staging_;
  std::array<Event, kTurns> free_;
  int turn_ = 0;
};

}  // namespace foretoken::cuda
