#include "speculate/echoes.h"

#include <algorithm>
#include <bit>

namespace foretoken {

Echoes::Echoes(int32_t capacity)
    : echoes_(std::bit_ceil(static_cast<uint32_t>(capacity))), keys_(echoes_.size()), heads_(2 * echoes_.size(), -1) {}

void Echoes::add(const int8_t* before, int32_t token, std::span<const int32_t> answer, bool instead) {
  const int32_t number = count_++;
  Echo& echo = echoes_[number & (capacity() - 1)];
  int32_t& head = heads_[bucketOf(token)];
  echo.token = token;
  echo.link = head;
  echo.length = static_cast<int32_t>(answer.size());
  std::copy(answer.begin(), answer.end(), echo.answer.begin());
  std::copy_n(before, kKeyWidth, keys_[number & (capacity() - 1)].begin());
  head = number;
  if (instead && insteadCount_ < kMostInstead) instead_[insteadCount_++] = number;
}

size_t Echoes::bytes() const {
  return sizeof(Echo) * echoes_.size() + sizeof(AlignedKey) * keys_.size() + sizeof(int32_t) * heads_.size();
}

}  // namespace foretoken
