// What probes and trials gave, in a file: number of words, then the words, one after the other in the order of the
// lists; nothing of those that a device hasn't the unit for, but their place.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace foretoken::bench {

using Words = std::vector<uint32_t>;

inline Words wordsOf(const std::vector<float>& numbers) {
  Words words(numbers.size());
  std::memcpy(words.data(), numbers.data(), numbers.size() * sizeof(float));
  return words;
}
inline std::vector<float> numbersOf(const Words& words) {
  std::vector<float> numbers(words.size());
  std::memcpy(numbers.data(), words.data(), words.size() * sizeof(float));
  return numbers;
}

inline void writeWords(std::ofstream& file, const Words& words) {
  const auto count = static_cast<uint32_t>(words.size());
  file.write(reinterpret_cast<const char*>(&count), sizeof count);
  file.write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(count * sizeof(uint32_t)));
}
/// Empty where the file ends.
inline Words readWords(std::ifstream& file) {
  constexpr uint32_t kMost = 1u << 28;
  uint32_t count = 0;
  file.read(reinterpret_cast<char*>(&count), sizeof count);
  if (!file || count > kMost) return {};
  Words words(count);
  file.read(reinterpret_cast<char*>(words.data()), static_cast<std::streamsize>(count * sizeof(uint32_t)));
  return file ? words : Words{};
}

}  // namespace foretoken::bench
