// What the GPU bench says: a line for each figure as it comes, and a JSON file of them all.
#pragma once
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace foretoken::bench {

class Report {
 public:
  explicit Report(std::string card) : card_(std::move(card)) {}

  /// A figure; its key in the JSON is "<card>.<name>".
  void add(const std::string& name, double value) {
    figures_.emplace_back(card_ + "." + name, value);
    std::printf("%-56s %12.5g\n", name.c_str(), value);
    std::fflush(stdout);
  }

  /// {"suite": "gpu", "card": …, "summary": {key: figure}}. False where the file can't be written.
  bool write(const char* path) const {
    FILE* const file = std::fopen(path, "w");
    if (file == nullptr) return false;
    std::fprintf(file, "{\"suite\": \"gpu\", \"card\": \"%s\", \"summary\": {", card_.c_str());
    for (size_t i = 0; i < figures_.size(); ++i)
      std::fprintf(file, "%s\n  \"%s\": %.9g", i ? "," : "", figures_[i].first.c_str(), figures_[i].second);
    std::fprintf(file, "\n}}\n");
    return std::fclose(file) == 0;
  }

 private:
  std::string card_;
  std::vector<std::pair<std::string, double>> figures_;
};

}  // namespace foretoken::bench
