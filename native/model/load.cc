#include <algorithm>
#include <array>

#include "common/error.h"
#include "model/architecture.h"

namespace foretoken {
namespace {

constexpr std::array kArchitectures = {&kLlama, &kMistral, &kQwen2, &kQwen3};

}  // namespace

const Architecture& architectureOf(const ModelSource& source) {
  const std::string wanted = source.architecture();
  std::string known;
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == wanted) return *architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture->name);
  }
  throw Error("UNSUPPORTED_ARCHITECTURE",
              "architecture '" + wanted + "' of " + source.path + " is not known; known: " + known);
}

Naming namingOf(const ModelSource& source) { return source.gguf ? Naming::gguf : Naming::huggingFace; }

Naming namingOf(const TensorFile& update, const WeightNeeds& ofGguf) {
  if (update.tensors().empty()) throw Error("NO_TENSORS", "the update has no tensors");
  const std::string& first = update.tensors().front().name;
  const auto isFirst = [&](const std::string& name) { return name == first; };
  bool found = std::any_of(ofGguf.ignored.begin(), ofGguf.ignored.end(), isFirst);
  for (const VectorNeed& need : ofGguf.vectors) found |= isFirst(need.source);
  for (const MatrixNeed& need : ofGguf.matrices)
    for (const TensorNeed& tensor : need.sources) found |= isFirst(tensor.name);
  return found ? Naming::gguf : Naming::huggingFace;
}

std::unique_ptr<Model> loadModel(const std::string& path, Backend& backend, const ModelOptions& options) {
  const ModelSource source = ModelSource::open(path);
  const Architecture& architecture = architectureOf(source);
  const ModelConfig config = architecture.configure(source);
  Weights weights = Weights::load(source, architecture.needs(config, namingOf(source)), backend, options);
  return architecture.create(config, std::move(weights), backend, options);
}

}  // namespace foretoken
