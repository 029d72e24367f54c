// What the GPU bench says: a line for each figure as it comes, and a JSON file of all that have come so far, so that a
// run which is cut off leaves what it had.
#pragma once
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace foretoken::bench {

/// What keys of a card begin with: "NVIDIA H100 80GB HBM3" is h100, one that is not known its architecture.
inline std::string cardKey(const std::string& name, int major, int minor) {
  for (const char* known : {"H100", "H200", "GB200", "B200", "B300"}) {
    if (name.find(known) == std::string::npos) continue;
    std::string lower = known;
    for (char& c : lower) c = static_cast<char>(std::tolower(c));
    return lower;
  }
  return "sm" + std::to_string(10 * major + minor);
}

class Report {
 public:
  /// `path` is written with each figure; empty: nothing is.
  explicit Report(std::string card, std::string path = "") : card_(std::move(card)), path_(std::move(path)) {}

  /// A figure; its key in the JSON is "<card>.<name>". Throws std::runtime_error where the file can't be written.
  void add(const std::string& name, double value) {
    figures_.emplace_back(card_ + "." + name, value);
    std::printf("%-56s %12.5g\n", name.c_str(), value);
    std::fflush(stdout);
    if (!path_.empty() && !write()) throw std::runtime_error(path_ + " can't be written");
  }

 private:
  /// {"suite": "gpu", "card": …, "summary": {key: figure}}, beside the file first: who reads it finds it whole.
  bool write() const {
    const std::string fresh = path_ + ".new";
    FILE* const file = std::fopen(fresh.c_str(), "w");
    if (file == nullptr) return false;
    std::fprintf(file, "{\"suite\": \"gpu\", \"card\": \"%s\", \"summary\": {", card_.c_str());
    for (size_t i = 0; i < figures_.size(); ++i)
      std::fprintf(file, "%s\n  \"%s\": %.9g", i ? "," : "", figures_[i].first.c_str(), figures_[i].second);
    std::fprintf(file, "\n}}\n");
    const bool isWhole = std::ferror(file) == 0;
    if (std::fclose(file) != 0 || !isWhole) return false;
    std::error_code failed;
    std::filesystem::rename(fresh, path_, failed);
    return !failed;
  }

  std::string card_, path_;
  std::vector<std::pair<std::string, double>> figures_;
};

}  // namespace foretoken::bench
