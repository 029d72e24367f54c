// Tiny models against the logits of Hugging Face transformers (test/fixtures/make_model_goldens.py).
#include <cmath>

#include "check.h"
#include "cpu/isa.h"
#include "model_rig.h"

using namespace foretoken;
using namespace foretoken::test;

namespace {

const char* const kModels[] = {
    "tied-f32",          "tied-f16",      "llama3-bf16", "tied-f32.gguf", "tied-f16.gguf", "llama3-bf16.gguf",
    "mixed-blocks.gguf", "k-quants.gguf", "qwen2",       "qwen2.gguf",    "qwen3",         "qwen3.gguf",
    "fp8-rows",          "fp8-blocks"};

/// Over all golden positions of a model: the largest differences as shares of the position's largest logit, sorted, and
/// the root mean square of all differences as a share of that of all logits.
struct Difference {
  std::vector<float> bf16kv, exact;
  double squares = 0, reference = 0;

  float rms() const { return static_cast<float>(std::sqrt(squares / reference)); }
};

Difference compare(LoadedModel& loaded, const std::vector<GoldenPrompt>& prompts) {
  Difference all;
  for (const GoldenPrompt& prompt : prompts) {
    const auto logits = loaded.feed(prompt.tokens, 512);
    for (const auto& [position, golden] : prompt.bf16kv) {
      all.bf16kv.push_back(largestDifference(logits[position], golden) / largest(golden));
      for (size_t i = 0; i < golden.size(); ++i) {
        all.squares += std::pow(logits[position][i] - golden[i], 2.0);
        all.reference += std::pow(golden[i], 2.0);
      }
    }
    for (const auto& [position, golden] : prompt.exact)
      all.exact.push_back(largestDifference(logits[position], golden) / largest(golden));
  }
  std::sort(all.bf16kv.begin(), all.bf16kv.end());
  std::sort(all.exact.begin(), all.exact.end());
  return all;
}

/// The reference path: the file's weights in fp32. Keys and values that lie next to the middle between two bf16 numbers
/// fall to either side by the order of sums: transformers in double differs from itself in float by up to 2.6e-4 at a
/// few positions for this reason alone. Elsewhere only the order of sums is left, and
/// what attention in tiles leaves out of queries and weights, beyond sixteen bits.
void referencePath(const std::string& name, const std::string& isa, const std::vector<GoldenPrompt>& prompts) {
  CpuOptions cpu;
  cpu.isa = isa;
  LoadedModel loaded(fixture("models/" + name), "f32", cpu);
  const Difference error = compare(loaded, prompts);
  const float median = error.bf16kv[error.bf16kv.size() / 2];
  std::printf("%-18s f32    median %.1e, worst %.1e of bf16-KV transformers, %.1e of exact (%s)\n", name.c_str(),
              median, error.bf16kv.back(), error.exact.back(), isa.c_str());
  CHECK(median <= (isa == "amx" ? 6e-5f : 3e-5f));
  CHECK(error.bf16kv.back() <= 5e-4f);
  CHECK(error.exact.back() <= 2e-2f);
}

/// Every format stays near the reference; a swapped row or a wrong scale would not.
void format(const std::string& name, const std::string& weights, float tolerance,
            const std::vector<GoldenPrompt>& prompts) {
  LoadedModel loaded(fixture("models/" + name), weights);
  const Difference error = compare(loaded, prompts);
  std::printf("%-18s %-6s rms %.1e of transformers (%s)\n", name.c_str(), weights.c_str(), error.rms(),
              loaded.model->weightsDescription().c_str());
  CHECK(error.rms() <= tolerance);
}

}  // namespace

int main() {
  for (const std::string name : kModels) {
    const auto prompts = readGolden(fixture("models/" + name + ".golden"));
    CHECK(prompts.size() == 4);
    for (const char* isa : availableIsas()) referencePath(name, isa, prompts);
    format(name, "auto", 0.03f, prompts);
    format(name, "bf16", 0.03f, prompts);
    format(name, "f16", 0.01f, prompts);
    format(name, "fp8", 0.15f, prompts);
    format(name, "nvfp4", 0.5f, prompts);
    format(name, "mxfp4", 0.8f, prompts);
  }
  return finish("golden");
}
