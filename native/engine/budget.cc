#include "engine/budget.h"

#include <algorithm>
#include <string>

#include "backend.h"
#include "common/error.h"
#include "head/head_weights.h"

namespace foretoken {
namespace {
constexpr int32_t kDefaultContext = 8192;
// What is needed is rounded up, what there is down: the one that is more is said to be more.
std::string megabytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }
std::string wholeMegabytes(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }
}  // namespace

int32_t contextLengthFor(const EngineOptions& options, const ModelConfig& config) {
  if (options.contextLength == 0) return std::min<int32_t>(config.contextLength, kDefaultContext);
  if (options.contextLength < 2 || options.contextLength > config.contextLength) {
    throw Error("INVALID_OPTION", "contextLength must be at most " + std::to_string(config.contextLength) +
                                      ", the model's own; it is " + std::to_string(options.contextLength));
  }
  return options.contextLength;
}

KvShape kvShape(const EngineOptions& options, const ModelConfig& config, int32_t pages) {
  const int ofHead = options.head ? static_cast<int>(options.head->shape().layers) : 0;
  return {config.layers + ofHead, config.kvHeads, config.headDim, pages, options.sideBytes, options.kvFormat};
}

KvBudget kvBudget(const EngineOptions& options, const ModelConfig& config, const Backend& backend) {
  const size_t page = backend.kvBytes(kvShape(options, config, 1)), availableBytes = backend.memoryLeft();
  const int32_t context = contextLengthFor(options, config);
  const size_t onePages = (context + kPageSize - 1) / kPageSize;
  const int32_t scratch = options.speculation ? (kMaxDraftRows + kPageSize - 1) / kPageSize : 0;
  const size_t wanted = options.kvBytes > 0 ? options.kvBytes : (options.maxSequences * onePages + scratch) * page;
  const size_t granted = options.kvBytes > 0 ? wanted : std::min(wanted, availableBytes / 2);
  const size_t needed = (onePages + scratch) * page;
  if (granted > availableBytes) {
    throw Error("OUT_OF_MEMORY", "kvBytes asks for " + megabytes(granted) + ", " + wholeMegabytes(availableBytes) +
                                     " are left; give less: a context of " + std::to_string(context) +
                                     " tokens needs " + megabytes(needed));
  }
  if (granted < needed) {
    throw Error("OUT_OF_MEMORY", "a context of " + std::to_string(context) + " tokens needs " + megabytes(needed) +
                                     " for its KV pages, " + wholeMegabytes(granted) +
                                     " are to be had; give a smaller contextLength" +
                                     (options.kvBytes > 0 ? " or another kvBytes" : ""));
  }
  const size_t pages = std::min<size_t>(granted / page, INT32_MAX / kPageSize);
  return {scratch, static_cast<int32_t>(pages) - scratch};
}

}  // namespace foretoken
