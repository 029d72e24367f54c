// Where libFuzzer is absent: a seeded mutation driver for the same entry points.
//
//   fuzz_NAME [--seconds 60] [--seed 1] [--runs 0] [--crash FILE] [corpus file or folder]…
//
// Inputs of the corpus are run as they are, then mutated: the same seed makes the same inputs in the same order. An
// input that trips a sanitizer, ends in an uncaught exception or takes more than kInputLimit seconds is written to
// FILE and the program fails; given as the only corpus with --seconds 0, it is reproduced.
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// A file may not inflate what it makes us allocate: inputs are below 1 MiB, so no single allocation has a reason to
// exceed this many megabytes.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "max_allocation_size_mb=256:handle_abort=1:detect_leaks=1";
}
extern "C" __attribute__((visibility("default"))) const char* __ubsan_default_options() {
  return "print_stacktrace=1:abort_on_error=1";
}

namespace {

using Input = std::vector<uint8_t>;

constexpr size_t kLargestInput = 1 << 20;
constexpr unsigned kInputLimit = 30;

struct Options {
  double seconds = 60;
  uint64_t seed = 1;
  uint64_t runs = 0;
  std::string crashFile = "crash.bin";
  std::vector<std::string> corpus;
};

Options options;
Input current;

/// Async-signal-safe: runs while the process is dying.
void saveCurrent() {
  const int file = open(options.crashFile.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file < 0) return;
  const bool whole = write(file, current.data(), current.size()) == static_cast<ssize_t>(current.size());
  close(file);
  const char* said = whole ? "\nThe input that did it is in " : "\nThe input that did it is, in part, in ";
  (void)!write(STDERR_FILENO, said, std::strlen(said));
  (void)!write(STDERR_FILENO, options.crashFile.data(), options.crashFile.size());
  (void)!write(STDERR_FILENO, "\n", 1);
}

void onTimeout(int) {
  saveCurrent();
  _exit(1);
}

void run(const Input& input) {
  current = input;
  alarm(kInputLimit);
  LLVMFuzzerTestOneInput(current.data(), current.size());
  alarm(0);
}

/// Changes inputs the way binary formats break: lengths and offsets at their edges, bytes lost, blocks repeated.
class Mutator {
 public:
  Mutator(uint64_t seed, const std::vector<Input>& corpus) : random_(seed), corpus_(corpus) {}

  Input next() {
    Input input = corpus_[below(corpus_.size())];
    for (size_t count = 1 + below(6); count > 0; --count) mutate(input);
    if (input.size() > kLargestInput) input.resize(kLargestInput);
    return input;
  }

 private:
  size_t below(size_t bound) { return bound == 0 ? 0 : static_cast<size_t>(random_() % bound); }

  void mutate(Input& input) {
    switch (below(9)) {
      case 0: return flipBit(input);
      case 1: return setByte(input);
      case 2: return writeEdge(input);
      case 3: return addSmall(input);
      case 4: return insertBytes(input);
      case 5: return eraseBlock(input);
      case 6: return copyBlock(input);
      case 7: return truncate(input);
      default: return splice(input);
    }
  }

  void flipBit(Input& input) {
    if (!input.empty()) input[below(input.size())] ^= static_cast<uint8_t>(1u << below(8));
  }

  void setByte(Input& input) {
    if (!input.empty()) input[below(input.size())] = static_cast<uint8_t>(random_());
  }

  /// Overwrites 1, 2, 4 or 8 bytes with a value at which counts, sizes and signed arithmetic turn over.
  void writeEdge(Input& input) {
    static constexpr uint64_t kEdges[] = {0,          1,          2,          16,         127,        128,
                                          255,        256,        0x7fff,     0x8000,     0xffff,     0x10000,
                                          0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 40, (1ull << 61) - 1,
                                          1ull << 61, 1ull << 62, INT64_MAX,  1ull << 63, UINT64_MAX, UINT64_MAX - 31};
    const size_t width = size_t{1} << below(4);
    if (input.size() < width) return;
    uint64_t value = kEdges[below(std::size(kEdges))];
    if (below(4) == 0) value = input.size() - below(64);
    std::memcpy(input.data() + below(input.size() - width + 1), &value, width);
  }

  void addSmall(Input& input) {
    const size_t width = size_t{1} << below(4);
    if (input.size() < width) return;
    uint8_t* at = input.data() + below(input.size() - width + 1);
    uint64_t value = 0;
    std::memcpy(&value, at, width);
    value += below(17) - size_t{8};
    std::memcpy(at, &value, width);
  }

  void insertBytes(Input& input) {
    Input bytes(1 + below(16));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    input.insert(input.begin() + static_cast<ptrdiff_t>(below(input.size() + 1)), bytes.begin(), bytes.end());
  }

  void eraseBlock(Input& input) {
    if (input.empty()) return;
    const size_t begin = below(input.size());
    const size_t end = std::min(input.size(), begin + 1 + below(32));
    input.erase(input.begin() + static_cast<ptrdiff_t>(begin), input.begin() + static_cast<ptrdiff_t>(end));
  }

  void copyBlock(Input& input) {
    if (input.empty()) return;
    const size_t from = below(input.size());
    const size_t count = std::min(input.size() - from, 1 + below(64));
    const Input block(input.begin() + static_cast<ptrdiff_t>(from),
                      input.begin() + static_cast<ptrdiff_t>(from + count));
    if (below(2) == 0) {
      const size_t to = below(input.size() - count + 1);
      std::copy(block.begin(), block.end(), input.begin() + static_cast<ptrdiff_t>(to));
    } else {
      input.insert(input.begin() + static_cast<ptrdiff_t>(below(input.size() + 1)), block.begin(), block.end());
    }
  }

  void truncate(Input& input) { input.resize(below(input.size() + 1)); }

  /// The head of this input, the tail of another.
  void splice(Input& input) {
    const Input& other = corpus_[below(corpus_.size())];
    input.resize(below(input.size() + 1));
    input.insert(input.end(), other.begin() + static_cast<ptrdiff_t>(below(other.size() + 1)), other.end());
  }

  std::mt19937_64 random_;
  const std::vector<Input>& corpus_;
};

Input readFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return Input(std::istreambuf_iterator<char>(file), {});
}

/// In the order of names, so that a seed means the same everywhere. Without any input: the empty one.
std::vector<Input> readCorpus() {
  std::vector<std::filesystem::path> files;
  for (const std::string& path : options.corpus) {
    if (!std::filesystem::is_directory(path)) {
      files.emplace_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<Input> corpus;
  for (const auto& file : files) corpus.push_back(readFile(file));
  if (corpus.empty()) corpus.emplace_back();
  return corpus;
}

Options parse(int count, char** arguments) {
  Options result;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name.rfind("--", 0) != 0) {
      result.corpus.push_back(name);
      continue;
    }
    if (i + 1 == count) throw std::runtime_error(name + " needs a value");
    const std::string value = arguments[++i];
    if (name == "--seconds") {
      result.seconds = std::stod(value);
    } else if (name == "--seed") {
      result.seed = std::stoull(value);
    } else if (name == "--runs") {
      result.runs = std::stoull(value);
    } else if (name == "--crash") {
      result.crashFile = value;
    } else {
      throw std::runtime_error("unknown option " + name);
    }
  }
  return result;
}

/// How many inputs were run.
uint64_t fuzz(const std::vector<Input>& corpus) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(options.seconds);
  uint64_t count = 0;
  for (const Input& input : corpus) {
    run(input);
    ++count;
  }
  Mutator mutator(options.seed, corpus);
  while (Clock::now() < end && (options.runs == 0 || count < options.runs)) {
    run(mutator.next());
    ++count;
  }
  return count;
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<Input> corpus;
  try {
    options = parse(count, arguments);
    corpus = readCorpus();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  __sanitizer_set_death_callback(saveCurrent);
  std::signal(SIGALRM, onTimeout);
  std::printf("%zu corpus inputs, seed %llu\n", corpus.size(), static_cast<unsigned long long>(options.seed));
  std::fflush(stdout);
  // An exception that the target lets out ends in abort, which the sanitizer turns into a report.
  std::printf("%llu inputs run\n", static_cast<unsigned long long>(fuzz(corpus)));
  return 0;
}
