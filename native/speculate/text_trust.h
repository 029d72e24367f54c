// How far one text keeps what the policy table says of its drafters. The table holds what all of a tenant's texts have
// shown; one text may be easier or harder than they are, for one drafter and not for another, and shows it within some
// rounds: what its own drafted tokens were promised, and how many of them came. Both fade, for texts turn.
#pragma once
#include <algorithm>
#include <array>

#include "speculate/drafter.h"

namespace foretoken {

class TextTrust {
 public:
  /// A round has gone by: what was counted before loses a little.
  void fade() {
    for (Sum& sum : sums_) sum = {kFade * sum.promised, kFade * sum.kept};
  }
  /// Takes a drafted token behind a prefix that came true: the chance that the table gives it, and whether it came.
  void add(DrafterId drafter, float promised, bool kept) {
    Sum& sum = sums_[static_cast<int>(drafter)];
    sum.promised += promised;
    sum.kept += kept;
  }
  /// By what the table's chances for this drafter are multiplied. `tableWeight`: accepted tokens that they stand for; 0
  /// = they are the last word.
  float of(DrafterId drafter, float tableWeight) const {
    if (tableWeight <= 0) return 1;
    const Sum& sum = sums_[static_cast<int>(drafter)];
    return static_cast<float>((sum.kept + tableWeight) / (sum.promised + tableWeight));
  }

 private:
  static constexpr double kFade = 0.98;
  struct Sum {
    double promised = 0, kept = 0;
  };
  std::array<Sum, kDrafterCount> sums_{};
};

/// A chance as it is in a text that is trusted so far. Nothing is surer than 0.99: a chain of tokens that can't fail
/// would be as long as there is room, and the last ones of it do fail.
inline float trusted(float chance, float trust) {
  constexpr float kSurest = 0.99f;
  return std::min(kSurest, chance * trust);
}

}  // namespace foretoken
