// safetensors: files written by the format's own library (test/fixtures/make_model_goldens.py), and files that lie.
#include "format/safetensors.h"

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "../fuzz/touch.h"
#include "allocation_meter.h"
#include "byte_writer.h"
#include "check.h"
#include "fixtures.h"
#include "refusal.h"

using namespace foretoken;
namespace fs = std::filesystem;

namespace {

std::string model(const std::string& name) { return test::fixture("models/" + name); }

/// A file with this header and so many bytes of data.
std::vector<uint8_t> fileOf(std::string_view header, size_t dataBytes) {
  return test::ByteWriter().u64(header.size()).text(header).zeros(dataBytes).bytes;
}

void readAll(const std::vector<uint8_t>& bytes) { test::touchTensors(*SafetensorsFile::fromMemory(bytes, "file")); }

bool refusedBytes(const std::vector<uint8_t>& bytes, const std::string& code) {
  std::string found;
  const size_t allocated = test::bytesAllocatedBy([&] { found = test::refusalOf([&] { readAll(bytes); }); });
  if (found != code) std::printf("expected %s, found '%s'\n", code.c_str(), found.c_str());
  return found == code && allocated < 100'000;
}

bool refused(std::string_view header, size_t dataBytes, const std::string& code) {
  return refusedBytes(fileOf(header, dataBytes), code);
}

/// The header of one tensor.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

void fixtures() {
  const auto single = SafetensorsFile::open(model("tied-f16"));
  const TensorInfo* embedding = single->find("model.embed_tokens.weight");
  CHECK(embedding != nullptr && embedding->type == FileType::f16 && embedding->shape.size() == 2);
  CHECK(embedding->bytes == static_cast<uint64_t>(embedding->elements()) * 2);
  CHECK(single->files().size() == 1 && single->metadata().at("format") == "pt");
  for (const TensorInfo& tensor : single->tensors()) validateScales(tensor);
  const auto direct = SafetensorsFile::open(model("tied-f16/model.safetensors"));
  CHECK(direct->tensors().size() == single->tensors().size());

  const auto sharded = SafetensorsFile::open(model("llama3-bf16"));
  CHECK(sharded->files().size() == 2);
  CHECK(sharded->find("lm_head.weight") != nullptr && sharded->find("lm_head.weight")->type == FileType::bf16);
  CHECK(sharded->tensors().front().file != sharded->tensors().back().file);
  CHECK(std::isfinite(test::touchTensors(*sharded)));

  const fs::path seeds = test::fuzzCorpus("safetensors");
  for (const char* name : {"types.safetensors", "empty.safetensors"}) {
    CHECK(std::isfinite(test::touchTensors(*SafetensorsFile::open((seeds / name).string()))));
  }
}

void headers() {
  CHECK(refusedBytes({}, "TRUNCATED"));
  CHECK(refusedBytes({1, 2, 3}, "TRUNCATED"));
  CHECK(refusedBytes(test::ByteWriter().u64(100).text("{}").bytes, "TRUNCATED"));
  CHECK(refusedBytes(test::ByteWriter().u64(UINT64_MAX).text("{}").bytes, "HEADER_TOO_LARGE"));
  CHECK(refusedBytes(test::ByteWriter().u64(100'000'001).text("{}").bytes, "HEADER_TOO_LARGE"));
  CHECK(refusedBytes(test::ByteWriter().u64(0).bytes, "BAD_MAGIC"));
  CHECK(refused(" {}", 0, "BAD_MAGIC"));
  CHECK(refused("[]", 0, "BAD_MAGIC"));
  CHECK(refused("{", 0, "JSON_SYNTAX"));
  CHECK(refused("{}x", 0, "JSON_SYNTAX"));
  CHECK(refused("{\"\xff\":{}}", 0, "JSON_BAD_UTF8"));
  CHECK(refused(R"({"a":{},"a":{}})", 0, "JSON_DUPLICATE_KEY"));
  CHECK(refused("{\"a\":" + std::string(1000, '[') + std::string(1000, ']') + "}", 0, "JSON_TOO_DEEP"));
  CHECK(refused(R"({"__metadata__":{"format":5}})", 0, "JSON_WRONG_TYPE"));
  CHECK(test::refusalOf([] { readAll(fileOf("{}  ", 0)); }).empty());
}

void entries() {
  CHECK(test::refusalOf([] { readAll(fileOf(one("F32", "[2,3]", "[0,24]"), 24)); }).empty());
  CHECK(test::refusalOf([] { readAll(fileOf(one("BF16", "[]", "[0,2]"), 2)); }).empty());
  CHECK(test::refusalOf([] { readAll(fileOf(one("F16", "[0,7]", "[0,0]"), 0)); }).empty());
  CHECK(refused(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "EMPTY_NAME"));
  CHECK(refused("{\"" + std::string(1025, 't') + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                "NAME_TOO_LONG"));
  CHECK(refused(R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4, "JSON_MISSING_KEY"));
  CHECK(refused(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4, "JSON_MISSING_KEY"));
  CHECK(refused(R"({"t":{"dtype":"F32","shape":[1]}})", 4, "JSON_MISSING_KEY"));
  CHECK(refused(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "UNKNOWN_FIELD"));
  CHECK(refused(R"({"t":5})", 0, "JSON_WRONG_TYPE"));
  for (const char* dtype : {"F64", "I64", "U8", "BOOL", "F8_E5M2", "f32", ""}) {
    CHECK(refused(one(dtype, "[1]", "[0,8]"), 8, "UNSUPPORTED_TENSOR_TYPE"));
  }
  CHECK(refused(one("F32", "[-1]", "[0,4]"), 4, "BAD_SHAPE"));
  CHECK(refused(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "BAD_SHAPE"));
  CHECK(refused(one("F32", "[1.0]", "[0,4]"), 4, "JSON_WRONG_TYPE"));
  CHECK(refused(one("F32", "[18446744073709551615]", "[0,4]"), 4, "JSON_WRONG_TYPE"));
  CHECK(refused(one("F32", "[9223372036854775807]", "[0,4]"), 4, "SIZE_OVERFLOW"));
  CHECK(refused(one("F32", "[4294967296,4294967296]", "[0,0]"), 0, "SIZE_OVERFLOW"));
  CHECK(refused(one("F32", "[4611686018427387904,0,4]", "[0,0]"), 0, "SIZE_OVERFLOW"));
  CHECK(refused(one("F32", "[2]", "[0,4]"), 4, "SIZE_MISMATCH"));
  CHECK(refused(one("F16", "[2]", "[0,8]"), 8, "SIZE_MISMATCH"));
}

void places() {
  CHECK(refused(one("F32", "[1]", "[4,0]"), 4, "BAD_OFFSET"));
  CHECK(refused(one("F32", "[1]", "[-4,0]"), 4, "BAD_OFFSET"));
  CHECK(refused(one("F32", "[1]", "[0]"), 4, "BAD_OFFSET"));
  CHECK(refused(one("F32", "[1]", "[0,4,8]"), 8, "BAD_OFFSET"));
  CHECK(refused(one("F32", "[2]", "[0,8]"), 4, "DATA_OUT_OF_BOUNDS"));
  CHECK(refused(one("F32", "[1]", "[9223372036854775803,9223372036854775807]"), 4, "DATA_OUT_OF_BOUNDS"));
  CHECK(refused(one("F32", "[1]", "[0,4]"), 5, "DATA_HOLE"));
  CHECK(refused(one("F32", "[1]", "[4,8]"), 8, "DATA_HOLE"));
  CHECK(refused("{}", 1, "DATA_HOLE"));
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"F16","shape":[2],"data_offsets":)" + a +
           R"(},"b":{"dtype":"F16","shape":[2],"data_offsets":)" + b + "}}";
  };
  CHECK(refused(two("[0,4]", "[2,6]"), 6, "TENSOR_OVERLAP"));
  CHECK(refused(two("[0,4]", "[0,4]"), 4, "TENSOR_OVERLAP"));
  CHECK(refused(two("[0,4]", "[6,10]"), 10, "DATA_HOLE"));
  CHECK(test::refusalOf([&] { readAll(fileOf(two("[4,8]", "[0,4]"), 8)); }).empty());
}

/// A folder of shards, removed at the end.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("foretoken-shards-" + std::to_string(getpid()))) {
    fs::create_directory(path_);
  }
  ~Folder() { fs::remove_all(path_); }

  void write(const std::string& name, const std::vector<uint8_t>& bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  void index(const std::string& text) const {
    write("model.safetensors.index.json", std::vector<uint8_t>(text.begin(), text.end()));
  }
  std::string refusal() const {
    try {
      SafetensorsFile::open(path_.string());
      return "";
    } catch (const Error& error) {
      return error.code();
    }
  }

 private:
  fs::path path_;
};

void shards() {
  const Folder folder;
  CHECK(folder.refusal() == "FILE_NOT_FOUND");
  folder.write("a.safetensors", fileOf(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  folder.write("b.safetensors", fileOf(R"({"y":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2));
  folder.write("c.safetensors", fileOf(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  folder.index(R"({"metadata":{},"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  CHECK(folder.refusal().empty());
  folder.index(R"({"weight_map":{"x":"b.safetensors","y":"a.safetensors"}})");
  CHECK(folder.refusal() == "INDEX_MISMATCH");
  folder.index(R"({"weight_map":{"x":"a.safetensors","z":"a.safetensors"}})");
  CHECK(folder.refusal() == "INDEX_MISMATCH");
  folder.index(R"({"weight_map":{"x":"a.safetensors","w":"c.safetensors"}})");
  CHECK(folder.refusal() == "DUPLICATE_TENSOR");
  folder.index(R"({"weight_map":{"x":"missing.safetensors"}})");
  CHECK(folder.refusal() == "FILE_NOT_FOUND");
  for (const char* name :
       {"../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    folder.index(std::string(R"({"weight_map":{"x":")") + name + R"("}})");
    CHECK(folder.refusal() == "BAD_SHARD_NAME");
  }
  folder.index(R"({"weight_map":[]})");
  CHECK(folder.refusal() == "JSON_WRONG_TYPE");
  folder.index("{}");
  CHECK(folder.refusal() == "JSON_MISSING_KEY");
}

void mutations() {
  const std::vector<uint8_t> file =
      fileOf(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
             R"("b":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]}})",
             34);
  CHECK(test::refusalOf([&] { readAll(file); }).empty());
  CHECK(test::firstAcceptedPrefix(file, readAll) == file.size());
  int refusals = 0;
  CHECK(test::unexpectedAfterFlips(file, 50'000, readAll, refusals) == 0);
  CHECK(refusals > 5'000 && refusals < 50'000);
}

}  // namespace

int main() {
  fixtures();
  headers();
  entries();
  places();
  shards();
  mutations();
  return test::finish("safetensors");
}
