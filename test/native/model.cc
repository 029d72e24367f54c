// Loading: configurations that lie, tensors that don't fit, the packed cache, conversions between block types.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <variant>

#include "byte_writer.h"
#include "check.h"
#include "common/error.h"
#include "format/gguf.h"
#include "model/architecture.h"
#include "model/config.h"
#include "model/content_hash.h"
#include "model/packed_cache.h"
#include "model/requantize.h"
#include "model_rig.h"

using namespace foretoken;
using namespace foretoken::test;

namespace {

std::string readFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void writeFile(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// The code of the error that loading ends in, "" when it succeeds.
std::string loadError(Backend& backend, const std::string& path, const ModelOptions& options = {}) {
  try {
    loadModel(path, backend, options);
    return "";
  } catch (const Error& error) {
    return error.code();
  }
}

/// A GGUF file with the value of a metadata key (of four bytes) replaced.
std::string patched(std::string file, const std::string& key, uint32_t value) {
  const size_t at = file.find(key);
  if (at == std::string::npos) return "";
  std::memcpy(file.data() + at + key.size() + 4, &value, sizeof value);
  return file;
}

using Entry = std::pair<std::string, std::variant<std::string, float>>;

/// A GGUF file with more metadata; its tensors stay where alignment wants them.
std::string withMetadata(std::string file, const std::vector<Entry>& entries) {
  constexpr size_t kKeys = 16, kHeader = 24, kAlignment = 32;
  ByteWriter more;
  for (const auto& [key, value] : entries) {
    more.string(key).u32(static_cast<uint32_t>(value.index() == 0 ? GgufType::string : GgufType::f32));
    value.index() == 0 ? more.string(std::get<0>(value)) : more.f32(std::get<1>(value));
  }
  more.string("rest").u32(static_cast<uint32_t>(GgufType::string));
  const size_t rest = kAlignment - (more.bytes.size() + sizeof(uint64_t)) % kAlignment;
  more.string(std::string(rest, ' '));
  uint64_t keys;
  std::memcpy(&keys, file.data() + kKeys, sizeof keys);
  keys += entries.size() + 1;
  std::memcpy(file.data() + kKeys, &keys, sizeof keys);
  return file.insert(kHeader, reinterpret_cast<const char*>(more.bytes.data()), more.bytes.size());
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  return at == std::string::npos ? "" : text.replace(at, from.size(), to);
}

void ggufThatLies(Backend& backend) {
  const TemporaryFolder folder;
  const std::string good = readFile(fixture("models/tied-f32.gguf")), path = folder.path() + "/bad.gguf";
  const auto check = [&](const std::string& key, uint32_t value, const std::string& code) {
    const std::string bytes = patched(good, key, value);
    CHECK(!bytes.empty());
    writeFile(path, bytes);
    const std::string got = loadError(backend, path);
    if (got != code) std::printf("%s = %u gave '%s'\n", key.c_str(), value, got.c_str());
    CHECK(got == code);
  };
  check("llama.block_count", 1, "");
  check("llama.block_count", 0, "BAD_MODEL_CONFIG");
  check("llama.block_count", 2, "MISSING_TENSOR");
  check("llama.block_count", 0xffffffff, "BAD_MODEL_CONFIG");
  check("llama.embedding_length", 0x7fffffff, "BAD_MODEL_CONFIG");
  check("llama.embedding_length", 32, "WRONG_TENSOR_SHAPE");
  check("llama.feed_forward_length", 0, "BAD_MODEL_CONFIG");
  check("llama.feed_forward_length", 64, "WRONG_TENSOR_SHAPE");
  check("llama.attention.head_count_kv", 0, "BAD_MODEL_CONFIG");
  check("llama.attention.head_count_kv", 3, "BAD_MODEL_CONFIG");
  check("llama.attention.key_length", 31, "BAD_MODEL_CONFIG");
  check("llama.attention.value_length", 16, "BAD_MODEL_CONFIG");
  check("llama.rope.dimension_count", 16, "UNSUPPORTED_ARCHITECTURE");
  check("llama.rope.freq_base", 0x7fc00000, "BAD_MODEL_CONFIG");                    // NaN
  check("llama.attention.layer_norm_rms_epsilon", 0xbf800000, "BAD_MODEL_CONFIG");  // -1
  check("llama.vocab_size", 0x40000000, "BAD_MODEL_CONFIG");
  check("llama.vocab_size", 130, "WRONG_TENSOR_SHAPE");
  check("llama.context_length", 0, "BAD_MODEL_CONFIG");
  writeFile(path, replaced(good, "blk.0.ffn_up.weight", "blk.0.ffn_uq.weight"));
  CHECK(loadError(backend, path) == "UNSUPPORTED_ARCHITECTURE");  // a tensor that nobody asked for
  std::string odd = good;
  for (size_t at = 0; (at = odd.find("llama", at)) != std::string::npos;) odd.replace(at, 5, "lamma");
  writeFile(path, odd);
  CHECK(loadError(backend, path) == "UNSUPPORTED_ARCHITECTURE");
  writeFile(path, "no model at all");
  CHECK(loadError(backend, path) == "UNKNOWN_MODEL_FILE");
  CHECK(loadError(backend, folder.path() + "/absent.gguf") == "FILE_NOT_FOUND");
  ModelOptions options;
  options.weights = "q2";
  CHECK(loadError(backend, fixture("models/tied-f32.gguf"), options) == "UNKNOWN_WEIGHTS_FORMAT");
}

/// Linear scaling of positions, with and without its type and by either key, as llama.cpp reads it.
void ggufScaling(Backend& backend) {
  const TemporaryFolder folder;
  const std::string good = readFile(fixture("models/tied-f32.gguf")), path = folder.path() + "/scaled.gguf";
  const std::vector<float> plain =
      readGgufConfig(*GgufFile::open(fixture("models/tied-f32.gguf")), "llama").ropeFrequency;
  const std::string type = "llama.rope.scaling.type", factor = "llama.rope.scaling.factor",
                    old = "llama.rope.scale_linear";
  const auto refusal = [&](const std::vector<Entry>& entries) {
    writeFile(path, withMetadata(good, entries));
    return loadError(backend, path);
  };
  const auto divides = [&](const std::vector<Entry>& entries, float by) {
    CHECK(refusal(entries) == "");
    const std::vector<float> got = readGgufConfig(*GgufFile::open(path), "llama").ropeFrequency;
    CHECK(got.size() == plain.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == plain[i] / by);
  };
  divides({}, 1);
  divides({{factor, 4.0f}}, 4);
  divides({{old, 4.0f}}, 4);
  divides({{factor, 2.0f}, {old, 4.0f}}, 2);
  divides({{type, "linear"}, {factor, 4.0f}}, 4);
  divides({{type, "linear"}, {old, 4.0f}}, 4);
  for (const float none : {0.0f, 1.0f}) {
    divides({{factor, none}}, 1);
    divides({{factor, none}, {old, 4.0f}}, 1);
    divides({{type, "linear"}, {factor, none}}, 1);
  }
  divides({{type, "none"}, {factor, 4.0f}}, 1);
  CHECK(refusal({{type, "linear"}}) == "MISSING_METADATA");
  CHECK(refusal({{type, "yarn"}, {factor, 4.0f}}) == "UNSUPPORTED_ARCHITECTURE");
  CHECK(refusal({{factor, -4.0f}}) == "BAD_MODEL_CONFIG");
  CHECK(refusal({{factor, NAN}}) == "BAD_MODEL_CONFIG");
  CHECK(refusal({{factor, "4"}}) == "WRONG_METADATA_TYPE");
}

/// A weight that is not a number is found while converting.
void nanWeight(Backend& backend) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/nan.gguf";
  std::string bytes = readFile(fixture("models/tied-f32.gguf"));
  const uint32_t nan = 0x7fc00000;
  std::memcpy(bytes.data() + bytes.size() - 4096, &nan, sizeof nan);
  writeFile(path, bytes);
  CHECK(loadError(backend, path) == "NON_FINITE_WEIGHT");
}

void jsonThatLies(Backend& backend) {
  const TemporaryFolder folder;
  const std::string source = fixture("models/llama3-bf16"), copy = folder.path() + "/model";
  std::filesystem::copy(source, copy);
  const std::string good = readFile(source + "/config.json");
  const auto check = [&](const std::string& from, const std::string& to, const std::string& code) {
    const std::string text = replaced(good, from, to);
    CHECK(!text.empty());
    writeFile(copy + "/config.json", text);
    const std::string got = loadError(backend, copy);
    if (got != code) std::printf("%s gave '%s'\n", to.c_str(), got.c_str());
    CHECK(got == code);
  };
  check("\"llama\"", "\"llama\"", "");
  check("\"llama\"", "\"gpt_oss\"", "UNSUPPORTED_ARCHITECTURE");
  check("\"llama\"", "\"mistral\"", "");
  check("\"llama\"", "\"mistral\", \"sliding_window\": null", "");
  check("\"llama\"", "\"mistral\", \"sliding_window\": 512", "");
  check("\"llama\"", "\"mistral\", \"sliding_window\": 511", "UNSUPPORTED_ARCHITECTURE");
  check("\"llama\"", "\"qwen2\"", "MISSING_TENSOR");
  check("\"llama\"", "\"qwen2\", \"sliding_window\": 511", "MISSING_TENSOR");
  check("\"llama\"", "\"qwen3\", \"sliding_window\": 511, \"use_sliding_window\": true", "UNSUPPORTED_ARCHITECTURE");
  check("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "UNSUPPORTED_ARCHITECTURE");
  check("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu_pytorch_tanh\"", "");
  check("\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"", "UNSUPPORTED_ARCHITECTURE");
  check("\"low_freq_factor\": 1.0", "\"low_freq_factor\": 4.0", "BAD_MODEL_CONFIG");
  check("\"factor\": 8.0", "\"factor\": 0", "BAD_MODEL_CONFIG");
  check("\"hidden_size\": 64", "\"hidden_size\": -64", "BAD_MODEL_CONFIG");
  check("\"hidden_size\": 64", "\"hidden_size\": \"64\"", "JSON_WRONG_TYPE");
  check("\"hidden_size\": 64", "\"hidden\": 64", "JSON_MISSING_KEY");
  check("\"vocab_size\": 131", "\"vocab_size\": 132", "WRONG_TENSOR_SHAPE");
  check("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", "");  // a stored head is then passed over
  check("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "UNSUPPORTED_ARCHITECTURE");
}

/// Checkpoints in fp8: codes without their scales, or with others than are known, would be another model.
void scalesThatLie(Backend& backend) {
  const TemporaryFolder folder;
  const std::string copy = folder.path() + "/model";
  const auto check = [&](const std::string& name, const std::string& file, const std::string& from,
                         const std::string& to, const std::string& code) {
    std::filesystem::remove_all(copy);
    std::filesystem::copy(fixture("models/" + name), copy);
    const std::string bytes = replaced(readFile(copy + "/" + file), from, to);
    CHECK(!bytes.empty());
    writeFile(copy + "/" + file, bytes);
    const std::string got = loadError(backend, copy);
    if (got != code) std::printf("%s of %s gave '%s'\n", to.c_str(), name.c_str(), got.c_str());
    CHECK(got == code);
  };
  const std::string config = "config.json", weights = "model.safetensors";
  check("fp8-rows", config, "\"compressed\"", "\"compressed\"", "");
  check("fp8-rows", config, "\"float-quantized\"", "\"pack-quantized\"", "UNSUPPORTED_ARCHITECTURE");
  check("fp8-rows", config, "\"quantization_config\"", "\"quantised\"", "UNSUPPORTED_ARCHITECTURE");
  check("fp8-blocks", config, "\"fp8\"", "\"awq\"", "UNSUPPORTED_ARCHITECTURE");
  check("fp8-blocks", config, "   128,\n", "   64,\n", "UNSUPPORTED_ARCHITECTURE");
  check("fp8-rows", weights, "q_proj.weight_scale", "q_proj.weighs_scale", "MISSING_TENSOR");
  check("fp8-blocks", weights, "q_proj.weight_scale_inv", "q_proj.weighs_scale_inv", "MISSING_TENSOR");
  check("fp8-blocks", weights, "\"shape\":[2,2]", "\"shape\":[4,1]", "WRONG_TENSOR_SHAPE");
}

void configurations() {
  const ModelConfig gguf = kLlama.configure(ModelSource::open(fixture("models/llama3-bf16.gguf")));
  const ModelConfig json = readJsonConfig(JsonDocument::open(fixture("models/llama3-bf16/config.json")));
  CHECK(gguf.ropeInterleaved && !json.ropeInterleaved);
  CHECK(gguf.headDim == 32 && json.headDim == 32 && gguf.heads == 4 && json.kvHeads == 2);
  CHECK(!gguf.tiedHead && !json.tiedHead && gguf.vocabulary == 131 && json.vocabulary == 131);
  CHECK(gguf.contextLength == 512 && json.contextLength == 512);
  // Both describe the same Llama 3 scaling: one as factors per frequency, one as four numbers.
  CHECK(gguf.ropeFrequency.size() == 16 && json.ropeFrequency.size() == 16);
  for (size_t i = 0; i < 16; ++i)
    CHECK(std::fabs(gguf.ropeFrequency[i] - json.ropeFrequency[i]) <= 1e-6f * json.ropeFrequency[i]);
  const auto plain = ropeFrequencies(500000, 32);
  CHECK(json.ropeFrequency[0] == plain[0] && std::fabs(json.ropeFrequency[15] * 8 / plain[15] - 1) < 1e-6f);
}

/// Expands a tensor before and after a conversion and gives the largest difference as a share of its largest weight.
float conversionError(const TensorInfo& info, FileType to) {
  const int64_t count = info.elements();
  std::vector<float> before(count), after(count);
  std::vector<uint8_t> blocks(count / blockShape(to).elements * blockShape(to).bytes);
  dequantize(info.type, info.data, before.data(), count);
  convertBlocks(info.type, info.data, to, blocks.data(), count);
  dequantize(to, blocks.data(), after.data(), count);
  return largestDifference(before, after) / largest(before);
}

void conversions() {
  const auto mixed = GgufFile::open(fixture("models/mixed-blocks.gguf"));
  const auto kQuants = GgufFile::open(fixture("models/k-quants.gguf"));
  const TensorInfo& q4_0 = *mixed->find("blk.0.attn_q.weight");
  const TensorInfo& q4_k = *kQuants->find("blk.0.attn_q.weight");
  const TensorInfo& q5_k = *kQuants->find("blk.0.ffn_down.weight");
  const TensorInfo& q6_k = *kQuants->find("blk.0.attn_v.weight");
  CHECK(q4_0.type == FileType::q4_0 && q4_k.type == FileType::q4_k);
  CHECK(q5_k.type == FileType::q5_k && q6_k.type == FileType::q6_k);
  CHECK(conversionError(q4_0, FileType::q4_1) == 0);
  CHECK(conversionError(q4_0, FileType::q8_0) == 0);
  const float k4 = conversionError(q4_k, FileType::q4_1), k4wide = conversionError(q4_k, FileType::q8_0);
  const float k5 = conversionError(q5_k, FileType::q8_0), k6 = conversionError(q6_k, FileType::q8_0);
  std::printf(
      "conversion error, share of the largest weight: Q4_K->Q4_1 %.1e, Q4_K->Q8_0 %.1e, Q5_K->Q8_0 %.1e, "
      "Q6_K->Q8_0 %.1e\n",
      k4, k4wide, k5, k6);
  CHECK(k4 < 1e-3f && k4wide < 5e-3f && k5 < 5e-3f && k6 < 5e-3f);
  CHECK(widerType(FileType::q4_1, FileType::q8_0) == FileType::q8_0);
  CHECK(widerType(FileType::q4_0, FileType::q4_1) == FileType::q4_1);
  CHECK(widerType(FileType::bf16, FileType::f16) == FileType::f32);
  CHECK(widerType(FileType::q8_0, FileType::f16) == FileType::f32);
}

void hashes() {
  std::vector<uint8_t> bytes(3 * kHashPiece + 1234, 7);
  const Hash128 before = hashContents(bytes);
  CHECK(hashContents(bytes) == before);
  for (const size_t at : {size_t{0}, kHashPiece, bytes.size() - 1}) {
    bytes[at] ^= 1;
    CHECK(!(hashContents(bytes) == before));
    bytes[at] ^= 1;
  }
  std::swap_ranges(bytes.begin(), bytes.begin() + kHashPiece, bytes.begin() + kHashPiece);
  CHECK(hashContents(bytes) == before);  // the pieces were alike
  bytes[5] = 9;
  const Hash128 first = hashContents(bytes);
  std::swap_ranges(bytes.begin(), bytes.begin() + kHashPiece, bytes.begin() + kHashPiece);
  CHECK(!(hashContents(bytes) == first));  // order counts
  CHECK(!(hashBytes({bytes.data(), 64}, 1) == hashBytes({bytes.data(), 65}, 1)));
}

void cacheFile() {
  const TemporaryFolder folder;
  std::vector<uint8_t> bytes(3 << 20), back(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 31 >> 3);
  const PackedCache cache(folder.path() + "/new/folder", "key", "a matrix\n");
  CHECK(!cache.read(back));
  CHECK(cache.write(bytes).empty());
  CHECK(cache.read(back) && back == bytes);
  CHECK(!PackedCache(folder.path() + "/new/folder", "key", "b matrix\n").read(back));
  CHECK(!PackedCache(folder.path() + "/new/folder", "other", "a matrix\n").read(back));
  CHECK(!cache.read({back.data(), back.size() - 1}));
  const std::string path = folder.path() + "/new/folder/key.weights", good = readFile(path);
  for (const size_t at : {size_t{3}, size_t{20}, size_t{50}, size_t{66}, size_t{5000}, good.size() - 1}) {
    std::string bad = good;
    bad[at] ^= 4;
    writeFile(path, bad);
    CHECK(!cache.read(back));
  }
  for (const size_t size : {size_t{0}, size_t{10}, size_t{64}, good.size() / 2, good.size() - 1}) {
    writeFile(path, good.substr(0, size));
    CHECK(!cache.read(back));
  }
  writeFile(path, good + "x");
  CHECK(!cache.read(back));
  CHECK(cache.write(bytes).empty() && cache.read(back) && back == bytes);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() + "/new/folder")) files += entry.exists();
  CHECK(files == 1);  // no partial file is left behind
  CHECK(!PackedCache("/proc/no/such/folder", "key", "").write(bytes).empty());
}

/// Files of killed writers go with the next write, those of writers that live stay.
void abandonedFiles() {
  const TemporaryFolder folder;
  const std::string killed = folder.path() + "/a.weights.1.partial", alive = folder.path() + "/b.weights.2.partial";
  writeFile(killed, "half");
  writeFile(alive, "half");
  const PackedCache cache(folder.path(), "key", "a matrix\n");
  const std::vector<uint8_t> bytes(100);
  const int writer = ::open(alive.c_str(), O_WRONLY | O_CLOEXEC);
  CHECK(::flock(writer, LOCK_EX | LOCK_NB) == 0);
  CHECK(cache.write(bytes).empty());
  CHECK(!std::filesystem::exists(killed) && std::filesystem::exists(alive));
  ::close(writer);
  CHECK(cache.write(bytes).empty() && !std::filesystem::exists(alive));
}

/// Loads with a cache and says whether weights were packed anew; the first logits must always be the same.
bool packsAnew(const std::string& folder, const std::string& weights, Logits& first) {
  auto backend = createCpuBackend({1, ""});
  bool packed = false;
  ModelOptions options;
  options.weights = weights, options.cacheFolder = folder;
  options.progress = [&](const char*, int64_t, int64_t) { packed = true; };
  auto model = loadModel(fixture("models/k-quants.gguf"), *backend, options);
  const ModelConfig& config = model->config();
  backend->allocateKv({config.layers, config.kvHeads, config.headDim, 1, 0});
  const int32_t token = 5, zero = 0, one = 1, begin[2] = {0, 0};
  const int32_t* table = &zero;
  Pass pass;
  pass.rows = pass.logitRows = 1;
  pass.token = &token, pass.position = pass.slot = pass.sequence = pass.logitRow = &zero;
  pass.base = &one, pass.ancestorBegin = begin, pass.pages = &table;
  model->forward(pass, nullptr);
  const float* values = backend->read(model->logits(), 1);
  const Logits logits(values, values + config.vocabulary);
  CHECK(first.empty() || logits == first);
  first = logits;
  return packed;
}

void cachedModel() {
  const TemporaryFolder folder;
  for (const std::string weights : {"auto", "nvfp4"}) {
    Logits logits;
    CHECK(packsAnew(folder.path(), weights, logits));
    CHECK(!packsAnew(folder.path(), weights, logits));
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      std::filesystem::resize_file(entry.path(), entry.file_size() - 100);
    CHECK(packsAnew(folder.path(), weights, logits));
    CHECK(!packsAnew(folder.path(), weights, logits));
    CHECK(packsAnew("", weights, logits));
  }
}

/// Models of the same source and formats read one copy of the weights, as long as one of them is there.
void sharedModel() {
  Logits logits;
  {
    const LoadedModel first(fixture("models/k-quants.gguf"), "auto");
    CHECK(!packsAnew("", "auto", logits));
    CHECK(packsAnew("", "nvfp4", logits = {}));
  }
  CHECK(packsAnew("", "auto", logits = {}));
}

}  // namespace

int main() {
  auto backend = createCpuBackend({2, ""});
  configurations();
  ggufThatLies(*backend);
  ggufScaling(*backend);
  nanWeight(*backend);
  jsonThatLies(*backend);
  scalesThatLie(*backend);
  conversions();
  hashes();
  cacheFile();
  abandonedFiles();
  cachedModel();
  sharedModel();
  return finish("model");
}
