// What foretoken_gpu_bench is asked for.
#pragma once
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace foretoken::bench {

constexpr std::array<std::string_view, 5> kParts = {"conformance", "sanitize", "kernels", "step", "train"};
constexpr const char* kUsage =
    "usage: foretoken_gpu_bench conformance|sanitize|kernels|step|train... [--json FILE] [--executor FILE] "
    "[--golden FILE]";

struct Options {
  std::vector<std::string> parts;
  std::string json, executor = "executor_probes.bin", golden;
};

/// Throws std::invalid_argument, which says what is wrong, before anything is measured.
inline Options readOptions(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    std::string* const value = word == "--json"       ? &options.json
                               : word == "--executor" ? &options.executor
                               : word == "--golden"   ? &options.golden
                                                      : nullptr;
    if (value == nullptr) {
      if (std::find(kParts.begin(), kParts.end(), word) == kParts.end())
        throw std::invalid_argument("there is no part '" + word + "'");
      options.parts.push_back(word);
    } else if (++i < arguments.size()) {
      *value = arguments[i];
    } else {
      throw std::invalid_argument(word + " needs a file's name");
    }
  }
  if (options.parts.empty()) throw std::invalid_argument("no part is named");
  return options;
}

}  // namespace foretoken::bench
