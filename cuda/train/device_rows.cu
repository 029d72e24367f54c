#include "cuda/train/device_rows.h"

#include <algorithm>
#include <string>

#include "cuda/train/row_steps.cuh"

namespace foretoken::cuda {
namespace {

/// Arrays of the host on the device, one after the other in one piece of memory.
class Placed {
 public:
  template <class T>
  void add(T*& pointer, const std::vector<std::remove_const_t<T>>& values) {
    add(pointer, values.data(), values.size());
  }
  template <class T>
  void add(T*& pointer, const std::remove_const_t<T>* values, size_t count) {
    entries_.push_back({values, count * sizeof(T), bytes_});
    pointer = reinterpret_cast<T*>(bytes_);  // until it is known where all begins
    bytes_ += roundUp(count * sizeof(T), size_t{16});
  }
  size_t bytes() const { return bytes_; }
  void send(uint8_t* base, Stream& stream) const {
    for (const Entry& e : entries_)
      if (e.bytes > 0) stream.copyIn(base + e.at, e.from, e.bytes);
  }
  template <class T>
  static void settle(T*& pointer, uint8_t* base) {
    pointer = reinterpret_cast<T*>(base + reinterpret_cast<size_t>(pointer));
  }

 private:
  struct Entry {
    const void* from;
    size_t bytes, at;
  };
  std::vector<Entry> entries_;
  size_t bytes_ = 0;
};

template <class T>
void fetch(std::vector<T>& to, const T* from, Stream& stream) {
  if (!to.empty()) stream.copyOut(to.data(), from, to.size() * sizeof(T));
}

}  // namespace

DeviceRowSteps::DeviceRowSteps(int device) : device_((useDevice(device), device)), stream_(Stream::Priority::low) {}

int64_t DeviceRowSteps::step(const learn::RowSlots& slots, learn::MovedRows& rows, const learn::RowOptions& options) {
  if (slots.slots() == 0) return 0;
  useDevice(device_);
  RowStepArgs a{};
  a.width = static_cast<int>(rows.width), a.rank = static_cast<int>(rows.rank);
  a.markov = options.markov, a.output = options.output, a.clip = options.clip;
  const int32_t counts[] = {rows.room, 0};
  const auto each = [&](const auto& visit) {
    visit(a.first), visit(a.row), visit(a.before), visit(a.truth), visit(a.logit), visit(a.rest), visit(a.weight);
    visit(a.state), visit(a.beforeRows), visit(a.afterRows), visit(a.delta), visit(a.isMoved), visit(a.room);
  };
  Placed placed;
  placed.add(a.first, slots.first), placed.add(a.row, slots.row), placed.add(a.before, slots.before);
  placed.add(a.truth, slots.truth), placed.add(a.logit, slots.logit), placed.add(a.rest, slots.rest);
  placed.add(a.weight, slots.weight), placed.add(a.state, slots.state);
  placed.add(a.beforeRows, rows.before), placed.add(a.afterRows, rows.after), placed.add(a.delta, rows.delta);
  placed.add(a.isMoved, rows.isMoved), placed.add(a.room, counts, 2);
  if (memory_.size() < placed.bytes()) memory_.renew(std::max(placed.bytes(), 2 * memory_.size()));
  placed.send(memory_.data(), stream_);
  each([&](auto*& pointer) { Placed::settle(pointer, memory_.data()); });
  a.skipped = a.room + 1;
  const int slice = slotsPerRowSlice(a.width);
  for (int first = 0; first < slots.slots(); first += slice)
    require(launch(stepRows, dim3(1), dim3(kRowStepThreads), rows.rank * sizeof(float), stream_.get(), a, first,
                   std::min(first + slice, static_cast<int>(slots.slots()))),
            "moving rows of a head");
  int32_t left[2];
  fetch(rows.before, a.beforeRows, stream_), fetch(rows.after, a.afterRows, stream_);
  fetch(rows.delta, a.delta, stream_), fetch(rows.isMoved, a.isMoved, stream_);
  stream_.copyOut(left, a.room, sizeof left);
  stream_.synchronise();
  rows.room = left[0];
  return left[1];
}

}  // namespace foretoken::cuda
