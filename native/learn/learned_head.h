// A head that learns, in two parts that heads have in common where they do not differ: a candidate of rows stands on
// the layers of the head that drafts, one of layers keeps its rows. Layers are ten times as large as all rows.
#pragma once
#include <memory>
#include <vector>

#include "train/block_head.h"

namespace foretoken::learn {

/// What a head knows of single tokens.
struct HeadRows {
  train::Floats markov;        ///< as it lies behind the layers in the layout of BlockHead
  std::vector<int32_t> draft;  ///< as in HeadNumbers
  train::OutputDelta delta;

  size_t bytes() const {
    return (markov.size() + delta.row.size()) * sizeof(float) + (draft.size() + delta.place.size()) * sizeof(int32_t);
  }
};

struct LearnedHead {
  std::shared_ptr<const train::Floats> layers;  ///< all before the Markov term
  std::shared_ptr<const HeadRows> rows;
};

/// A head in parts. `markov`: where the Markov term begins in its weights.
LearnedHead inParts(train::HeadNumbers head, int64_t markov);
/// The other way round.
train::HeadNumbers together(const LearnedHead& head);

}  // namespace foretoken::learn
