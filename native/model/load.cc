#include <array>

#include "common/error.h"
#include "model/architecture.h"

namespace foretoken {
namespace {

const Architecture& findArchitecture(const std::string& wanted, const std::string& path) {
  std::string known;
  for (const Architecture* architecture : architectures()) {
    if (architecture->name == wanted) return *architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture->name);
  }
  throw Error("UNSUPPORTED_ARCHITECTURE",
              "architecture '" + wanted + "' of " + path + " is not known; known: " + known);
}

}  // namespace

std::span<const Architecture* const> architectures() {
  static constexpr std::array<const Architecture*, 1> all = {&kLlama};
  return all;
}

std::unique_ptr<Model> loadModel(const std::string& path, Backend& backend, const ModelOptions& options) {
  const ModelSource source = ModelSource::open(path);
  const Architecture& architecture = findArchitecture(source.architecture(), path);
  const ModelConfig config = architecture.configure(source);
  Weights weights = Weights::load(source, architecture.needs(config, source), backend, options);
  return architecture.create(config, std::move(weights), backend, options);
}

}  // namespace foretoken
