// Reading GGUF files that are what they claim to be: one written by gguf-py (test/fixtures/make_gguf_fixtures.py), with
// the values that gguf-py expands its blocks to, and one put together here.
#include "format/gguf.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "../fuzz/touch.h"
#include "byte_writer.h"
#include "check.h"
#include "fixtures.h"
#include "refusal.h"

using namespace foretoken;
using test::ByteWriter;

namespace {

void metadata(const GgufFile& file) {
  CHECK(file.version() == 3);
  CHECK(file.alignment() == 32);
  CHECK(file.required("general.architecture").string() == "test");
  CHECK(file.required("test.uint8").integer() == 255);
  CHECK(file.required("test.int8").integer() == -128);
  CHECK(file.required("test.uint16").integer() == 65535);
  CHECK(file.required("test.int16").integer() == -32768);
  CHECK(file.required("test.uint32").integer() == 4294967295);
  CHECK(file.required("test.int32").integer() == -2147483648);
  CHECK(file.required("test.int64").integer() == INT64_MIN);
  CHECK(file.required("test.uint64").number() == 0x1p64);
  CHECK(file.required("test.float32").number() == 0.15625);
  CHECK(file.required("test.float64").number() == 1e300);
  CHECK(file.required("test.bool").boolean());
  CHECK(file.required("test.string").string() == "grüße, 世界");
  const std::vector<std::string_view> strings = {"", "a", "Ġthe", std::string_view("\0x", 2)};
  CHECK(file.required("test.strings").strings() == strings);
  CHECK(file.required("test.strings").count() == 4);
  const std::vector<int64_t> integers = {-1, 0, 2147483647};
  CHECK(file.required("test.integers").integers() == integers);
  const std::vector<double> numbers = {0.5, -2.25};
  CHECK(file.required("test.floats").numbers() == numbers);
  const std::vector<GgufValue> nested = file.required("test.nested").arrays();
  CHECK(nested.size() == 2 && nested[0].count() == 2 && nested[1].integers() == std::vector<int64_t>{3});
}

void accessors(const GgufFile& file) {
  CHECK(file.value("nothing") == nullptr);
  CHECK(file.integerOr("test.uint8", 1) == 255 && file.integerOr("nothing", 1) == 1);
  CHECK(file.numberOr("test.int8", 1) == -128 && file.numberOr("nothing", 0.5) == 0.5);
  CHECK(file.booleanOr("test.bool", false) && file.booleanOr("nothing", true));
  CHECK(file.stringOr("general.architecture", "") == "test" && file.stringOr("nothing", "x") == "x");
  const auto code = [&](auto access) { return test::refusalOf([&] { access(); }); };
  CHECK(code([&] { file.required("nothing"); }) == "MISSING_METADATA");
  for (const char* key : {"test.uint64", "test.float32", "test.bool", "test.string", "test.integers"}) {
    CHECK(code([&] { (void)file.required(key).integer(); }) == "WRONG_METADATA_TYPE");
  }
  CHECK(code([&] { (void)file.integerOr("test.string", 1); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.string").number(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.uint8").boolean(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.uint8").string(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.uint8").count(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.integers").strings(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.strings").integers(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.floats").integers(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.strings").numbers(); }) == "WRONG_METADATA_TYPE");
  CHECK(code([&] { (void)file.required("test.strings").arrays(); }) == "WRONG_METADATA_TYPE");
}

/// Every type's blocks expand to the reference's values, bit for bit.
void expansion(const GgufFile& file) {
  int types = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    if (tensor.name.ends_with(".f32")) continue;
    ++types;
    CHECK(tensor.name == name(tensor.type));
    CHECK((tensor.shape == std::vector<int64_t>{2, 512}) && tensor.rows() == 2 && tensor.cols() == 512);
    const TensorInfo* expected = file.find(tensor.name + ".f32");
    CHECK(expected != nullptr && expected->type == FileType::f32 && expected->shape == tensor.shape);
    if (expected == nullptr) continue;
    std::vector<float> values(1024);
    dequantize(tensor.type, tensor.data, values.data(), 1024);
    CHECK(std::memcmp(values.data(), expected->data, 1024 * sizeof(float)) == 0);
    dequantize(FileType::f32, expected->data, values.data(), 1024);
    CHECK(std::memcmp(values.data(), expected->data, 1024 * sizeof(float)) == 0);
    validateScales(tensor);
    validateScales(*expected);
  }
  CHECK(types == 8);
}

/// Version 2, an alignment of its own, a gap between tensors, dimensions in the right order.
void builtByHand() {
  ByteWriter writer;
  writer.ggufHeader(2, 1, 2).string("general.alignment").u32(4).u32(64);
  writer.ggufTensor("late", {3, 2}, 0, 128).ggufTensor("early", {5}, 30, 0);
  writer.align(64);
  const size_t start = writer.bytes.size();
  writer.zeros(128);
  for (int i = 0; i < 6; ++i) writer.f32(static_cast<float>(i));
  const auto file = GgufFile::fromMemory(writer.bytes, "by hand");
  CHECK(file->version() == 2 && file->alignment() == 64 && file->tensors().size() == 2);
  const TensorInfo* late = file->find("late");
  CHECK(late != nullptr && (late->shape == std::vector<int64_t>{2, 3}) && late->bytes == 24);
  CHECK(late->offset == start + 128 && late->data == writer.bytes.data() + start + 128);
  CHECK(late->file == "by hand");
  const TensorInfo* early = file->find("early");
  CHECK(early != nullptr && early->rows() == 1 && early->cols() == 5 && early->bytes == 10);
  CHECK(file->find("neither") == nullptr);
}

/// The seeds of the fuzz target are valid files: mutations of them get past the first checks.
void fuzzSeeds() {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::fuzzCorpus("gguf"))) {
    const auto file = GgufFile::open(entry.path().string());
    CHECK(test::touchMetadata(*file) + file->tensors().size() > 0);
    CHECK(test::touchTensors(*file) != 0 || file->tensors().empty());
    ++files;
  }
  CHECK(files == 3);
}

void onDisk() {
  const auto missing = [] { GgufFile::open("/nonexistent/file.gguf"); };
  CHECK(test::refusalOf(missing).starts_with("not a FormatError"));
  try {
    missing();
  } catch (const Error& error) {
    CHECK(error.code() == "FILE_NOT_FOUND");
  }
  try {
    GgufFile::open(std::filesystem::temp_directory_path().string());
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.code() == "FILE_UNREADABLE");
  }
  const auto path = std::filesystem::temp_directory_path() / ("foretoken-empty-" + std::to_string(getpid()));
  std::ofstream(path).close();
  CHECK(test::refusalOf([&] { GgufFile::open(path.string()); }) == "TRUNCATED");
  std::filesystem::remove(path);
}

}  // namespace

int main() {
  const auto file = GgufFile::open(test::fixture("blocks.gguf"));
  metadata(*file);
  accessors(*file);
  expansion(*file);
  builtByHand();
  fuzzSeeds();
  onDisk();
  return test::finish("gguf");
}
