#include "model/source.h"

#include <filesystem>
#include <fstream>

#include "common/error.h"
#include "format/mapped_file.h"
#include "format/safetensors.h"
#include "model/content_hash.h"

namespace foretoken {
namespace {

ModelSource openGguf(const std::string& path) {
  ModelSource source;
  source.path = path;
  auto file = GgufFile::open(path);
  source.gguf = file.get();
  source.tensors = std::move(file);
  source.files = {path};
  return source;
}

ModelSource openFolder(const std::string& path) {
  ModelSource source;
  source.path = path;
  const std::string config = path + "/config.json";
  source.config = JsonDocument::open(config);
  auto file = SafetensorsFile::open(path);
  source.files.assign(file->files().begin(), file->files().end());
  source.files.push_back(config);
  source.tensors = std::move(file);
  return source;
}

bool startsWithGgufMagic(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

}  // namespace

std::unique_ptr<TensorFile> openTensors(const std::string& path) {
  if (startsWithGgufMagic(path)) return GgufFile::open(path);
  return SafetensorsFile::open(path);
}

std::string ModelSource::architecture() const {
  if (gguf) return std::string(gguf->required("general.architecture").string());
  return config->root().at("model_type").string();
}

std::string ModelSource::hash() const {
  std::vector<Hash128> hashes;
  for (const std::string& file : files) hashes.push_back(hashContents(MappedFile(file).bytes()));
  return hex(combine(hashes));
}

ModelSource ModelSource::open(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return openFolder(path);
  if (!std::filesystem::exists(path, ignored)) throw Error("FILE_NOT_FOUND", "no model at " + path);
  if (startsWithGgufMagic(path)) return openGguf(path);
  throw Error("UNKNOWN_MODEL_FILE",
              path + " is no GGUF file; give a .gguf file, or the folder that holds config.json and *.safetensors");
}

}  // namespace foretoken
