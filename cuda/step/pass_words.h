// Makes of a Pass the words that kernels read (step/pass_view.cuh): tiles of queries, masks of ancestors, page tables,
// rotary angles. Host code.
#pragma once
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend.h"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

class PassWords {
 public:
  /// Rows, tokens, positions, slots; where it has them.
  void begin(const Pass& pass) {
    header_ = {};
    words_.assign(sizeof header_ / sizeof(int32_t), 0);
    tiles_.clear();
    longest_ = lists_ = 0;
    tree_ = false;
    header_.rows = pass.rows;
    header_.logitRows = pass.logitRows;
    header_.token = add(pass.token, pass.rows);
    header_.slot = add(pass.slot, pass.rows);
    header_.logitRow = add(pass.logitRow, pass.logitRows);
    finish();
  }
  /// What each row sees, for attention with `group` query heads to a KV head.
  void addContext(const Pass& pass, int group) {
    tiles_.clear(), mask_.clear(), treeSlots_.clear(), pages_.clear(), length_.clear();
    for (int row = 0; row < pass.rows; ++row) {
      length_.push_back(pass.base[row] + ancestors(pass, row));
      longest_ = std::max(longest_, length_.back());
    }
    std::vector<std::vector<int32_t>> slots;
    for (int begin = 0; begin < pass.rows;) {
      int end = begin + 1;
      while (end < pass.rows && pass.sequence[end] == pass.sequence[begin]) ++end;
      slots.push_back(sideSlots(pass, begin, end));
      addTiles(pass, begin, end, group);
      treeSlots_.insert(treeSlots_.end(), slots.back().begin(), slots.back().end());
      begin = end;
    }
    tree_ = !treeSlots_.empty();
    addMasks(pass, slots);
    header_.base = add(pass.base, pass.rows);
    header_.length = add(length_.data(), length_.size());
    header_.treeSlots = add(treeSlots_.data(), treeSlots_.size());
    header_.pages = add(pages_.data(), pages_.size());
    header_.tiles = tiles();
    header_.tile = add(tiles_.data(), tiles_.size());
    finish();
  }
  /// Angles of the rows' positions. In double: an angle of a late position is many turns.
  void addRotary(const Pass& pass, const Rope& rope) {
    rotary_.clear();
    for (int row = 0; row < pass.rows; ++row) {
      for (const float frequency : rope.frequency) {
        const double angle = static_cast<double>(pass.position[row]) * static_cast<double>(frequency);
        rotary_.push_back(static_cast<float>(std::cos(angle)));
        rotary_.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    header_.rotary = add(rotary_.data(), rotary_.size());
    finish();
  }
  /// Adds a list of rows; its number, or -1 where there are enough of them.
  int addList(std::span<const int32_t> list) {
    if (lists_ == kPassLists) return -1;
    header_.list[lists_] = add(list.data(), list.size());
    header_.listCount[lists_] = static_cast<int32_t>(list.size());
    finish();
    return lists_++;
  }

  /// None of the lists is needed any more.
  void clearLists() { lists_ = 0; }

  std::span<const int32_t> words() const { return words_; }
  int tiles() const { return static_cast<int>(tiles_.size()); }
  /// Whether a row has ancestors beside its pages.
  bool tree() const { return tree_; }
  /// Positions of the row that sees most.
  int longest() const { return longest_; }

 private:
  template <class T>
  int32_t add(const T* values, size_t count) {
    static_assert(sizeof(T) % sizeof(int32_t) == 0);
    words_.resize((words_.size() + 3) / 4 * 4);
    const size_t at = words_.size();
    words_.resize(at + count * sizeof(T) / sizeof(int32_t));
    if (values) std::memcpy(words_.data() + at, values, count * sizeof(T));
    return static_cast<int32_t>(at);
  }

  static int ancestors(const Pass& pass, int row) { return pass.ancestorBegin[row + 1] - pass.ancestorBegin[row]; }

  /// The slots that rows of a run see beside their pages, ancestors before their descendants: a slot that is new stands
  /// behind all of its path.
  std::vector<int32_t> sideSlots(const Pass& pass, int begin, int end) {
    std::vector<int32_t> slots;
    index_.clear();
    for (int i = pass.ancestorBegin[begin]; i < pass.ancestorBegin[end]; ++i)
      if (index_.emplace(pass.ancestors[i], static_cast<int32_t>(slots.size())).second)
        slots.push_back(pass.ancestors[i]);
    return slots;
  }

  void addTiles(const Pass& pass, int begin, int end, int group) {
    const auto pageTable = static_cast<int32_t>(pages_.size());
    const int paged = *std::max_element(pass.base + begin, pass.base + end);
    const int32_t* const pages = pass.pages[pass.sequence[begin]];
    pages_.insert(pages_.end(), pages, pages + (paged + kPageSize - 1) / kPageSize);
    for (int query = 0; query < (end - begin) * group; query += kTileQueries) {
      AttentionTile tile{begin, end, query, pageTable, 0, INT_MAX, static_cast<int32_t>(treeSlots_.size())};
      const int last = std::min(end - 1, begin + (query + kTileQueries - 1) / group);
      for (int row = begin + query / group; row <= last; ++row) {
        tile.longest = std::max(tile.longest, length_[row]);
        if (ancestors(pass, row) > 0) tile.shared = std::min(tile.shared, pass.base[row]);
      }
      tiles_.push_back(tile);
    }
  }

  void addMasks(const Pass& pass, const std::vector<std::vector<int32_t>>& slots) {
    size_t most = 0;
    for (const auto& run : slots) most = std::max(most, run.size());
    header_.maskWords = static_cast<int32_t>((most + 31) / 32);
    mask_.assign(static_cast<size_t>(pass.rows) * header_.maskWords, 0);
    for (int row = 0, run = -1; row < pass.rows && most > 0; ++row) {
      if (row == 0 || pass.sequence[row] != pass.sequence[row - 1]) {
        index_.clear();
        ++run;
        for (size_t i = 0; i < slots[run].size(); ++i) index_.emplace(slots[run][i], static_cast<int32_t>(i));
      }
      for (int i = pass.ancestorBegin[row]; i < pass.ancestorBegin[row + 1]; ++i) {
        const int bit = index_.at(pass.ancestors[i]);
        mask_[static_cast<size_t>(row) * header_.maskWords + bit / 32] |= uint32_t{1} << bit % 32;
      }
    }
    header_.mask = add(mask_.data(), mask_.size());
  }

  void finish() { std::memcpy(words_.data(), &header_, sizeof header_); }

  PassHeader header_{};
  std::vector<int32_t> words_, treeSlots_, pages_, length_;
  std::vector<uint32_t> mask_;
  std::vector<AttentionTile> tiles_;
  std::vector<float> rotary_;
  std::unordered_map<int32_t, int32_t> index_;
  bool tree_ = false;
  int longest_ = 0, lists_ = 0;
};

}  // namespace foretoken::cuda
