// The operations of a pass, noted first and issued together: so that passes that do the same things to the same memory
// are one recorded graph, launched again.
#pragma once
#include <cstring>
#include <list>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "common/error.h"
#include "cuda/common/memory.cuh"

namespace foretoken::cuda {

/// Launches of one operation: a plain structure of its arguments with `cudaError_t operator()(cudaStream_t) const` and
/// equality.
class Operation {
 public:
  template <class Launch>
  explicit Operation(const Launch& launch) : table_(&kTable<Launch>) {
    static_assert(sizeof(Launch) <= sizeof arguments_ && std::is_trivially_copyable_v<Launch>);
    new (arguments_) Launch(launch);
  }
  void issue(Stream& stream) const { require(table_->issue(arguments_, stream.get()), "launching a kernel"); }
  bool operator==(const Operation& other) const {
    return table_ == other.table_ && table_->equal(arguments_, other.arguments_);
  }

 private:
  struct Table {
    cudaError_t (*issue)(const void*, cudaStream_t);
    bool (*equal)(const void*, const void*);
  };
  template <class Launch>
  static constexpr Table kTable = {
      [](const void* self, cudaStream_t stream) { return (*static_cast<const Launch*>(self))(stream); },
      [](const void* a, const void* b) { return *static_cast<const Launch*>(a) == *static_cast<const Launch*>(b); }};

  const Table* table_;
  alignas(16) unsigned char arguments_[176];
};

using Tape = std::vector<Operation>;

inline void issueAll(const Tape& tape, Stream& stream) {
  for (const Operation& operation : tape) operation.issue(stream);
}

/// Graphs of the tapes seen, the latest first.
class GraphCache {
 public:
  /// Does what the tape says.
  void run(const Tape& tape, Stream& stream) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->tape != tape) continue;
      entries_.splice(entries_.begin(), entries_, entry);
      entries_.front().graph->launch(stream);
      ++repeated_;
      return;
    }
    if (entries_.size() >= kMost) entries_.pop_back();
    entries_.push_front({tape, record(tape, stream)});
    entries_.front().graph->launch(stream);
    ++recorded_;
  }
  /// Where memory has moved.
  void clear() { entries_.clear(); }

  int64_t recorded() const { return recorded_; }
  int64_t repeated() const { return repeated_; }

 private:
  /// Where there is no memory for it, the others go first: they can be recorded again.
  std::unique_ptr<Graph> record(const Tape& tape, Stream& stream) {
    const auto make = [&] { return std::make_unique<Graph>(stream, [&] { issueAll(tape, stream); }); };
    try {
      return make();
    } catch (const Error& error) {
      if (error.code() != "OUT_OF_MEMORY" || entries_.empty()) throw;
    }
    clear();
    return make();
  }

  static constexpr size_t kMost = 128;
  struct Entry {
    Tape tape;
    std::unique_ptr<Graph> graph;
  };
  std::list<Entry> entries_;
  int64_t recorded_ = 0, repeated_ = 0;
};

}  // namespace foretoken::cuda
