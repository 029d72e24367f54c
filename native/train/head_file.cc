#include "train/head_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <list>
#include <locale>
#include <sstream>

#include "common/error.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "quant/quantize.h"

namespace foretoken::train {
namespace {

/// Raised whenever files of older versions would be misread.
const std::string kFormat = "foretoken block head 1";
/// Behind the name of a matrix in fp8: a scale for each of its rows.
const std::string kScale = ".scale";
/// The draft vocabulary; what is added to the target's output rows of some of it, and of which draft indices.
const std::string kIds = "draft_ids", kDelta = "output_delta", kDeltaPlaces = "output_delta_places";

/// As many as a model's context may have.
constexpr int64_t kMostPositions = 1 << 26;

std::string joined(const std::vector<int>& numbers) {
  std::string text;
  for (const int n : numbers) {
    if (!text.empty()) text += ',';
    text += std::to_string(n);
  }
  return text;
}

/// Metadata and tensors of a file, with complaints that name it.
class HeadReader {
 public:
  HeadReader(const SafetensorsFile& file, const std::string& path) : path_(path), file_(file) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error("HEAD_INVALID", path_ + " is not a usable draft head: " + why);
  }
  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end()) refuse("its metadata lacks '" + key + "'");
    return found->second;
  }
  /// A size: of those that tensors bear out, none comes near a million.
  int64_t size(const std::string& key, int64_t most = 1 << 20) const {
    const auto out = wholeNumber(text(key), 1, most);
    if (!out) refuse("'" + key + "' is '" + text(key) + "'");
    return *out;
  }
  double number(const std::string& key) const {
    std::istringstream stream(text(key));
    stream.imbue(std::locale::classic());
    double out = 0;
    if (!(stream >> out) || !stream.eof() || !(out > 0)) refuse("'" + key + "' is '" + text(key) + "'");
    return out;
  }
  std::vector<int> numbers(const std::string& key) const {
    std::vector<int> out;
    const std::string& value = text(key);
    for (const char* at = value.data(); at < value.data() + value.size(); ++at) {
      const auto [end, error] = std::from_chars(at, value.data() + value.size(), out.emplace_back());
      if (error != std::errc() || (*end != ',' && end != value.data() + value.size()))
        refuse("'" + key + "' is '" + value + "'");
      at = end;
    }
    return out;
  }
  void requireTensor(const std::string& name, int64_t size) const {
    if (elements(name) != size)
      refuse(name + " has " + std::to_string(elements(name)) + " values, not " + std::to_string(size));
  }
  /// The values of a tensor of this size, all of them finite.
  void read(const std::string& name, int64_t size, float* out) const {
    const TensorInfo& from = tensor(name);
    dequantize(from.type, from.data, out, size);
    requireFinite(name, size, out);
  }
  /// The values of a parameter, those of a matrix in fp8 times their rows' scales.
  void read(const Parameter& p, float* out) const {
    read(p.name, p.size(), out);
    if (tensor(p.name).type != FileType::e4m3) return;
    requireTensor(p.name + kScale, p.rows);
    Floats scale(p.rows);
    read(p.name + kScale, p.rows, scale.data());
    for (int64_t i = 0; i < p.size(); ++i) out[i] *= scale[i / p.columns];
    requireFinite(p.name, p.size(), out);
  }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  int64_t elements(const std::string& name) const { return tensor(name).elements(); }

 private:
  const TensorInfo& tensor(const std::string& name) const {
    const TensorInfo* found = file_.find(name);
    if (!found) refuse("it lacks " + name);
    return *found;
  }
  void requireFinite(const std::string& name, int64_t size, const float* values) const {
    if (!std::all_of(values, values + size, [](float v) { return std::isfinite(v); }))
      refuse(name + " holds a value that is not finite");
  }

  const std::string& path_;
  const SafetensorsFile& file_;
};

BlockHeadShape readShape(const HeadReader& file, size_t fused) {
  BlockHeadShape shape{};
  shape.width = file.size("width");
  shape.fused = static_cast<int64_t>(fused);
  shape.layers = file.size("layers");
  shape.inner = file.size("inner");
  shape.heads = {file.size("query_heads"), file.size("key_heads"), file.size("head_width")};
  shape.vocabulary = file.elements(kIds);
  shape.rank = file.size("rank");
  shape.slots = file.size("slots");
  if (shape.slots < 2) file.refuse("a block of one slot needs no masks, and none is trained");
  shape.positions = file.size("positions", kMostPositions);
  shape.epsilon = static_cast<float>(file.number("epsilon"));
  shape.rotaryBase = file.number("rotary_base");
  return shape;
}

/// What a head's layout is made by before all of its tensors are asked for has to be borne out by tensors that are
/// there: a file of a few bytes must not cost gigabytes.
void requireSizes(const HeadReader& file, const BlockHeadShape& shape) {
  file.requireTensor("mask", (shape.slots - 1) * shape.width);
  for (int64_t l = 0; l < shape.layers; ++l)
    file.requireTensor("layers." + std::to_string(l) + ".attention.k.weight",
                       shape.heads.keys * shape.heads.width * shape.width);
}

/// A head's tensors on their way to a file. In fp8 a matrix has codes and a scale for each row; a vector is bf16.
struct TensorList {
  std::vector<TensorToWrite> all;
  std::list<std::vector<uint8_t>> bytes;
  std::list<Floats> scales;

  void add(const Parameter& p, const float* values, FileType type) {
    const auto shape = p.isMatrix() ? std::vector<int64_t>{p.rows, p.columns} : std::vector<int64_t>{p.columns};
    if (type == FileType::e4m3 && !p.isMatrix()) type = FileType::bf16;
    if (type == FileType::f32) return all.push_back({p.name, type, shape, values});
    auto& codes = bytes.emplace_back(p.size() * blockShape(type).bytes);
    all.push_back({p.name, type, shape, codes.data()});
    if (type == FileType::bf16) return roundRowBf16(values, p.size(), reinterpret_cast<uint16_t*>(codes.data()));
    Floats& scale = scales.emplace_back(p.rows);
    for (int64_t r = 0; r < p.rows; ++r)
      scale[r] = quantizeRowFp8(values + r * p.columns, p.columns, codes.data() + r * p.columns);
    all.push_back({p.name + kScale, FileType::f32, {p.rows}, scale.data()});
  }
};

std::map<std::string, std::string> metadataOf(const BlockHeadShape& shape, const HeadBinding& binding) {
  return {{"format", kFormat},
          {"model", binding.model},
          {"tokenizer", binding.tokenizer},
          {"fused_layers", joined(binding.fusedLayers)},
          {"width", std::to_string(shape.width)},
          {"layers", std::to_string(shape.layers)},
          {"inner", std::to_string(shape.inner)},
          {"query_heads", std::to_string(shape.heads.queries)},
          {"key_heads", std::to_string(shape.heads.keys)},
          {"head_width", std::to_string(shape.heads.width)},
          {"rank", std::to_string(shape.rank)},
          {"slots", std::to_string(shape.slots)},
          {"positions", std::to_string(shape.positions)},
          {"epsilon", exactText(shape.epsilon)},
          {"rotary_base", exactText(shape.rotaryBase)}};
}

}  // namespace

std::optional<int64_t> wholeNumber(std::string_view text, int64_t least, int64_t most) {
  int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || out < least || out > most) return std::nullopt;
  return out;
}

std::string exactText(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

void requireFinite(const Parameters& parameters, const float* weights, const std::string& what) {
  for (const Parameter& p : parameters.all())
    for (int64_t i = 0; i < p.size(); ++i)
      if (!std::isfinite(weights[p.offset + i]))
        throw Error("HEAD_NOT_FINITE", what + " is not saved: " + p.name + " holds a value that is not finite");
}

void saveHead(const std::string& path, const BlockHead& head, const HeadNumbers& numbers, const HeadBinding& binding,
              FileType type) {
  requireFinite(head.parameters(), numbers.weights.data(), path);
  const auto asFloats = [](const std::vector<int32_t>& ids) {  // which hold them exactly and every reader knows
    return Floats(ids.begin(), ids.end());
  };
  TensorList tensors;
  for (const Parameter& p : head.parameters().all()) tensors.add(p, numbers.weights.data() + p.offset, type);
  const Floats ids = asFloats(numbers.draft), places = asFloats(numbers.delta.place);
  tensors.all.push_back({kIds, FileType::f32, {static_cast<int64_t>(ids.size())}, ids.data()});
  if (const auto moved = static_cast<int64_t>(places.size()); moved > 0) {
    Parameters rows;
    rows.add(kDelta, moved, head.shape().width);
    requireFinite(rows, numbers.delta.row.data(), path);
    tensors.all.push_back({kDeltaPlaces, FileType::f32, {moved}, places.data()});
    tensors.all.push_back({kDelta, FileType::f32, {moved, head.shape().width}, numbers.delta.row.data()});
  }
  writeSafetensors(path, tensors.all, metadataOf(head.shape(), binding));
}

namespace {

/// Whole numbers in [0, below), each at most once.
std::vector<int32_t> readIds(const HeadReader& file, const std::string& name, float below) {
  Floats ids(file.elements(name));
  file.read(name, static_cast<int64_t>(ids.size()), ids.data());
  for (const float id : ids)
    if (!(id >= 0 && id < below && id == std::floor(id))) file.refuse(name + " holds " + std::to_string(id));
  std::vector<int32_t> out(ids.begin(), ids.end()), sorted = out;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) file.refuse(name + " holds " + std::to_string(*twice) + " twice");
  return out;
}

OutputDelta readDelta(const HeadReader& file, const BlockHeadShape& shape) {
  OutputDelta delta;
  if (!file.has(kDeltaPlaces)) return delta;
  const int64_t size = file.elements(kDeltaPlaces) * shape.width;
  delta.place = readIds(file, kDeltaPlaces, static_cast<float>(shape.vocabulary));
  if (!std::is_sorted(delta.place.begin(), delta.place.end())) file.refuse(kDeltaPlaces + " does not ascend");
  file.requireTensor(kDelta, size);
  delta.row.resize(size);
  file.read(kDelta, size, delta.row.data());
  return delta;
}

}  // namespace

LoadedHead loadHead(const std::string& path, const HeadBinding& expected) {
  return readHead(*SafetensorsFile::open(path), path, expected);
}

LoadedHead readHead(const SafetensorsFile& from, const std::string& path, const HeadBinding& expected) {
  const HeadReader file(from, path);
  if (file.text("format") != kFormat) file.refuse("it is no '" + kFormat + "' file");
  LoadedHead loaded;
  loaded.binding = {file.text("model"), file.text("tokenizer"), file.numbers("fused_layers")};
  const bool tokenizer = expected.tokenizer.empty() || expected.tokenizer == loaded.binding.tokenizer;
  const bool layers = expected.fusedLayers.empty() || expected.fusedLayers == loaded.binding.fusedLayers;
  if (loaded.binding.model != expected.model || !tokenizer || !layers)
    throw Error("HEAD_MISMATCH", path + " was trained for model " + loaded.binding.model + ", tokenizer " +
                                     loaded.binding.tokenizer + ", layers " + joined(loaded.binding.fusedLayers) +
                                     ", not for model " + expected.model + ", tokenizer " + expected.tokenizer +
                                     ", layers " + joined(expected.fusedLayers) + ": train one for this model");
  loaded.shape = readShape(file, loaded.binding.fusedLayers.size());
  requireSizes(file, loaded.shape);
  const Parameters layout = BlockHead::layoutOf(loaded.shape);
  for (const Parameter& p : layout.all()) file.requireTensor(p.name, p.size());
  loaded.weights.resize(layout.size());
  for (const Parameter& p : layout.all()) file.read(p, loaded.weights.data() + p.offset);
  loaded.draft = readIds(file, kIds, 0x1p24f);
  loaded.delta = readDelta(file, loaded.shape);
  return loaded;
}

}  // namespace foretoken::train
