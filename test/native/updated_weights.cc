// New weights in a model that is there: the same bits as a model that was loaded with them, for every format, whole or
// in part, under either kind of names; and everything that is refused.
#include <filesystem>
#include <fstream>

#include "byte_writer.h"
#include "check.h"
#include "common/error.h"
#include "format/safetensors.h"
#include "format/tensor_buffers.h"
#include "model/source.h"
#include "model_rig.h"
#include "refusal.h"

using namespace foretoken;
using namespace foretoken::test;

namespace {

using Values = std::map<std::string, std::vector<float>>;
const std::vector<int32_t> kText = {3, 17, 90, 4, 4, 55, 101, 8, 17, 90, 2, 1, 64, 30, 31, 32, 33, 7, 5, 99};

/// The numbers of a folder's tensors, moved a little where `moves` says so.
Values moved(const std::string& folder, bool (*moves)(const std::string&)) {
  Values values;
  uint32_t state = 1;
  const auto file = SafetensorsFile::open(folder);
  for (const TensorInfo& tensor : file->tensors()) {
    std::vector<float>& numbers = values[tensor.name];
    numbers.resize(tensor.elements());
    dequantize(tensor.type, tensor.data, numbers.data(), tensor.elements());
    for (float& number : numbers) {
      state = state * 1664525u + 1013904223u;
      if (moves(tensor.name)) number += 0.02f * (static_cast<float>(state >> 8) / (1 << 23) - 1);
    }
  }
  return values;
}

const std::vector<int64_t>& shapeOf(const TensorFile& file, const std::string& name) { return file.find(name)->shape; }

std::unique_ptr<TensorBuffers> buffersOf(const TensorFile& shapes, const Values& values,
                                         bool (*wanted)(const std::string&)) {
  auto buffers = std::make_unique<TensorBuffers>();
  for (const auto& [name, numbers] : values) {
    if (!wanted(name)) continue;
    const auto* bytes = reinterpret_cast<const uint8_t*>(numbers.data());
    buffers->add(name, "F32", shapeOf(shapes, name), {bytes, numbers.size() * sizeof(float)});
  }
  return buffers;
}

/// A folder like `like` with these numbers in F32.
void writeFolder(const std::string& folder, const std::string& like, const Values& values) {
  const auto shapes = SafetensorsFile::open(like);
  std::string header;
  size_t offset = 0;
  ByteWriter data;
  for (const auto& [name, numbers] : values) {
    std::string shape;
    for (const int64_t size : shapeOf(*shapes, name)) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    const size_t end = offset + numbers.size() * sizeof(float);
    header += (header.empty() ? "{\"" : ",\"") + name + "\":{\"dtype\":\"F32\",\"shape\":[" + shape +
              "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(end) + "]}";
    for (const float number : numbers) data.f32(number);
    offset = end;
  }
  header += "}";
  ByteWriter file;
  file.string(header);
  std::ofstream out(folder + "/model.safetensors", std::ios::binary);
  out.write(reinterpret_cast<const char*>(file.bytes.data()), static_cast<std::streamsize>(file.bytes.size()));
  out.write(reinterpret_cast<const char*>(data.bytes.data()), static_cast<std::streamsize>(data.bytes.size()));
  std::filesystem::copy_file(like + "/config.json", folder + "/config.json");
}

std::unique_ptr<Model> updated(const Model& model, const TensorFile& update) {
  return model.updated(update, *createCpuBackend({1, ""}));
}

bool everything(const std::string&) { return true; }
bool aPart(const std::string& name) {
  for (const char* part : {"down_proj", "layers.0.post_attention", "q_proj", "k_proj", "v_proj"})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

/// A model that was updated gives the bits of one that was loaded from the same tensors, and the one it came from gives
/// its own as before.
void equalsAFreshLoad(const std::string& name, const std::string& weights) {
  const std::string folder = fixture("models/" + name);
  for (const bool whole : {true, false}) {
    const auto wanted = whole ? everything : aPart;
    const Values values = moved(folder, wanted);
    const TemporaryFolder temporary;
    writeFolder(temporary.path(), folder, values);
    LoadedModel loaded(folder, weights), fresh(temporary.path(), weights);
    const auto before = loaded.feed(kText, 8), expected = fresh.feed(kText, 8);
    CHECK(differingRows(before, expected) != 0);
    const auto shapes = openTensors(folder);
    const auto next =
        updated(*loaded.model, whole ? *openTensors(temporary.path()) : *buffersOf(*shapes, values, wanted));
    CHECK(differingRows(loaded.feed(kText, 8), before) == 0);
    auto old = std::exchange(loaded.model, updated(*next, *buffersOf(*shapes, values, wanted)));
    old.reset();
    CHECK(differingRows(loaded.feed(kText, 8), expected) == 0);
  }
}

/// What names the weights follows them: it is of what came and of what was there, in whatever order it came.
void isKnownByWhatCame() {
  const std::string folder = fixture("models/tied-f32");
  const LoadedModel loaded(folder, "bf16");
  const std::vector<float> ones(64, 1.0f), twos(64, 2.0f);
  const auto with = [&](std::initializer_list<std::pair<const char*, const std::vector<float>*>> tensors) {
    TensorBuffers buffers;
    for (const auto& [name, values] : tensors)
      buffers.add(name, "F32", {64}, {reinterpret_cast<const uint8_t*>(values->data()), 64 * sizeof(float)});
    return updated(*loaded.model, buffers);
  };
  const char *norm = "model.norm.weight", *other = "model.layers.0.input_layernorm.weight";
  const std::string both = with({{norm, &ones}, {other, &twos}})->sourceHash();
  CHECK(both.size() == 32 && both == with({{other, &twos}, {norm, &ones}})->sourceHash());
  CHECK(both != with({{norm, &twos}, {other, &ones}})->sourceHash() && both != loaded.model->sourceHash());
  const auto once = with({{norm, &ones}});
  CHECK(once->sourceHash() != both);
  TensorBuffers again;
  again.add(norm, "F32", {64}, {reinterpret_cast<const uint8_t*>(ones.data()), 64 * sizeof(float)});
  CHECK(updated(*once, again)->sourceHash() != once->sourceHash());
}

/// Names and the order of rotary rows are translated: what computes in another order gives the same but for rounding.
void takesNamesOf(const std::string& own, const std::string& other) {
  LoadedModel loaded(own, "f32"), fresh(other, "f32");
  const auto before = loaded.feed(kText, 8), expected = fresh.feed(kText, 8);
  loaded.model = updated(*loaded.model, *openTensors(other));
  const auto after = loaded.feed(kText, 8);
  for (size_t i = 0; i < after.size(); ++i) {
    CHECK(largestDifference(after[i], expected[i]) < 1e-3f * largest(expected[i]));
    CHECK(largestDifference(before[i], expected[i]) > 1e-2f * largest(expected[i]));
  }
}

void takesEitherNames() {
  for (const char* name : {"llama3-bf16", "qwen2", "qwen3"}) {
    const std::string folder = fixture(std::string("models/") + name);
    takesNamesOf(folder, folder + ".gguf");
    takesNamesOf(folder + ".gguf", folder);
  }
}

/// Block formats keep the bits of their own blocks and quantise anything else.
void packsBlocks() {
  const std::string file = fixture("models/mixed-blocks.gguf");
  LoadedModel loaded(file, "auto");
  const auto before = loaded.feed(kText, 8);
  const auto own = openTensors(file);
  loaded.model = updated(*loaded.model, *own);
  CHECK(differingRows(loaded.feed(kText, 8), before) == 0);
  TensorBuffers floats;
  for (const TensorInfo& tensor : own->tensors()) {
    std::vector<float> numbers(tensor.elements());
    dequantize(tensor.type, tensor.data, numbers.data(), tensor.elements());
    floats.add(tensor.name, "F32", tensor.shape,
               {reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * sizeof(float)});
  }
  loaded.model = updated(*loaded.model, floats);
  const auto after = loaded.feed(kText, 8);
  for (size_t i = 0; i < after.size(); ++i) CHECK(largestDifference(after[i], before[i]) < 0.1f * largest(before[i]));
}

void refuses() {
  const std::string folder = fixture("models/tied-f32");
  LoadedModel loaded(folder, "bf16");
  const auto before = loaded.feed(kText, 8);
  const std::vector<float> zeros(64 * 96);
  const auto add = [&](TensorBuffers& buffers, const char* name, std::vector<int64_t> shape,
                       const char* dtype = "F32") {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(std::max<int64_t>(size, 1));
    buffers.add(name, dtype, std::move(shape), {reinterpret_cast<const uint8_t*>(zeros.data()), count * 4});
  };
  const auto code = [&](const char* name, std::vector<int64_t> shape) {
    TensorBuffers buffers;
    add(buffers, name, std::move(shape));
    return codeOf([&] { updated(*loaded.model, buffers); });
  };
  CHECK(code("model.layers.0.self_attn.q_proj.bias", {64}) == "UNKNOWN_TENSOR");
  CHECK(code("model.layers.9.mlp.down_proj.weight", {64, 96}) == "UNKNOWN_TENSOR");
  CHECK(code("model.layers.0.mlp.gate_proj.weight", {96, 64}) == "INCOMPLETE_MATRIX");
  CHECK(code("model.layers.0.mlp.down_proj.weight", {96, 64}) == "WRONG_TENSOR_SHAPE");
  CHECK(code("model.norm.weight", {1, 64}) == "WRONG_TENSOR_SHAPE");
  CHECK(code("blk.0.ffn_down.weight", {64, 96}) == "");
  CHECK(codeOf([&] { updated(*loaded.model, TensorBuffers()); }) == "NO_TENSORS");
  TensorBuffers buffers;
  const auto refusal = [&](auto... arguments) { return codeOf([&] { add(buffers, arguments...); }); };
  CHECK(refusal("a", std::vector<int64_t>{64}, "I8") == "UNSUPPORTED_TENSOR_TYPE");
  CHECK(refusal("a", std::vector<int64_t>{64}, "F16") == "SIZE_MISMATCH");
  CHECK(refusal("a", std::vector<int64_t>{0, 4}) == "BAD_SHAPE");
  CHECK(refusal("a", std::vector<int64_t>{-4}) == "BAD_SHAPE");
  CHECK(refusal("a", std::vector<int64_t>{4}) == "" && refusal("a", std::vector<int64_t>{4}) == "DUPLICATE_TENSOR");
  const int64_t huge = int64_t{1} << 62;
  CHECK(codeOf([&] { buffers.add("b", "F32", {huge, huge}, {}); }) == "SIZE_MISMATCH");
  for (const char* name : {"model.norm.weight", "model.layers.0.mlp.down_proj.weight"}) {
    Values values = moved(folder, everything);
    values[name].back() = name[6] == 'n' ? INFINITY : NAN;
    const auto broken = buffersOf(*openTensors(folder), values, everything);
    CHECK(codeOf([&] { updated(*loaded.model, *broken); }) == "NON_FINITE_WEIGHT");
  }
  CHECK(differingRows(loaded.feed(kText, 8), before) == 0);
}

}  // namespace

int main() {
  for (const char* weights : {"f32", "f16", "bf16", "fp8", "nvfp4", "mxfp4"}) {
    equalsAFreshLoad("tied-f16", weights);
    equalsAFreshLoad("llama3-bf16", weights);
    equalsAFreshLoad("qwen2", weights);
  }
  takesEitherNames();
  isKnownByWhatCame();
  packsBlocks();
  refuses();
  return finish("updated_weights");
}
