// What of the GPU bench needs no GPU: its arguments, its figures as JSON, and its random model, on the CPU.
#include "bench/gpu/options.h"
#include "bench/gpu/random_model.h"
#include "bench/gpu/report.h"
#include "check.h"
#include "format/json.h"
#include "model_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::bench;

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    readOptions(arguments);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

void testArguments() {
  const Options options = readOptions({"step", "--json", "a.json", "train", "--golden", "b"});
  CHECK((options.parts == std::vector<std::string>{"step", "train"}));
  CHECK(options.json == "a.json" && options.golden == "b" && options.executor == "executor_probes.bin");
  for (const std::string_view part : kParts) CHECK(readOptions({std::string(part)}).parts.size() == 1);
  CHECK(refusal({}) == "no part is named");
  CHECK(refusal({"--json", "a.json"}) == "no part is named");
  CHECK(refusal({"step", "--jsn", "a.json"}) == "there is no part '--jsn'");
  CHECK(refusal({"step", "--json"}) == "--json needs a file's name");
}

void testReport() {
  CHECK(cardKey("NVIDIA H100 80GB HBM3", 9, 0) == "h100" && cardKey("NVIDIA GB200", 10, 0) == "gb200");
  CHECK(cardKey("NVIDIA B200", 10, 0) == "b200" && cardKey("NVIDIA RTX 5090", 12, 0) == "sm120");
  const test::TemporaryFolder folder;
  const std::string path = folder.path() + "/gpu.json";
  Report report("h100", path);
  report.add("readGBs", 3000.5);
  // A file that is there and whole after each figure.
  CHECK(JsonDocument::open(path).root().at("summary").at("h100.readGBs").number() == 3000.5);
  report.add("step.fp8.m1.ms", 0.25);
  const JsonDocument json = JsonDocument::open(path);
  CHECK(json.root().at("suite").string() == "gpu" && json.root().at("card").string() == "h100");
  const Json& summary = json.root().at("summary");
  CHECK(summary.at("h100.readGBs").number() == 3000.5 && summary.at("h100.step.fp8.m1.ms").number() == 0.25);
  const auto files = std::filesystem::directory_iterator(folder.path());
  CHECK(std::distance(begin(files), end(files)) == 1);
  std::string said;
  try {
    Report("h100", folder.path() + "/none/gpu.json").add("readGBs", 1);
  } catch (const std::runtime_error& error) {
    said = error.what();
  }
  CHECK(said == folder.path() + "/none/gpu.json can't be written");
}

/// A pass's first row draws the same token whatever the number of rows.
void testRandomModel() {
  constexpr ModelShape kTiny{3, 64, 96, 4, 2, 32, 128};
  const auto backend = createCpuBackend({1, ""});
  RandomModel model(*backend, kTiny, KvFormat::bf16, Format::bf16, 2, 20, 8);
  CHECK(model.bytes() > 0);
  model.step(1);
  const int32_t alone = model.first();
  CHECK(alone >= 0 && alone < kTiny.vocabulary);
  model.step(8);
  CHECK(model.first() == alone);
}

}  // namespace

int main() {
  testArguments();
  testReport();
  testRandomModel();
  return test::finish("gpu_bench");
}
