// Any bytes as a draft head: refused with a code, or one whose tokens and layers are all there in the target that it
// fits.
#include <algorithm>
#include <cstdlib>

#include "train/head_file.h"
#include "train/head_fit.h"

namespace {

/// The target of the seeds.
foretoken::ModelConfig target() {
  foretoken::ModelConfig config;
  config.width = 16, config.kvHeads = 1, config.headDim = 16;
  config.layers = 2, config.contextLength = 8, config.vocabulary = 32;
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace train = foretoken::train;
  try {
    const auto file = foretoken::SafetensorsFile::fromMemory({data, size}, "input");
    const train::LoadedHead head = train::readHead(*file, "input", {"target", "", {}});
    train::requireFit(head.shape, head.binding.fusedLayers, head.draft, target());
    const bool whole = static_cast<int64_t>(head.weights.size()) == train::BlockHead::layoutOf(head.shape).size() &&
                       head.delta.row.size() == head.delta.place.size() * head.shape.width;
    const std::vector<int32_t> places = train::placesOf(head.draft, target().vocabulary);
    const auto known =
        std::count_if(places.begin(), places.end(), [&](int32_t p) { return p < head.shape.vocabulary; });
    if (!whole || known != head.shape.vocabulary) std::abort();
  } catch (const foretoken::Error&) {
  }
  return 0;
}
