#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "model/content_hash.h"
#include "model/packed_cache.h"
#include "model/parallel.h"
#include "model/requantize.h"
#include "model/scaled_fp8.h"
#include "model/shared_weights.h"

namespace foretoken {
namespace {

constexpr size_t kAlignment = 64;
constexpr int64_t kConversionPiece = 1 << 16;  // weights that one thread converts or checks at a time

/// A matrix whose tensors have been found and whose format is chosen.
struct PlannedMatrix {
  const MatrixNeed* need;
  std::vector<const TensorInfo*> sources;
  std::vector<Fp8Scales> scales;  ///< of each source
  Format format;
  FileType sourceType;  ///< what the sources are converted to before packing, where the format is a block type
  size_t offset, bytes;
};

const TensorInfo& findTensor(const ModelSource& source, const std::string& tensor) {
  if (const TensorInfo* info = source.tensors->find(tensor)) return *info;
  throw Error("MISSING_TENSOR", source.path + " has no tensor '" + tensor + "', which its architecture needs");
}

std::string shapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text.empty() ? "a scalar" : text;
}

void requireShape(const TensorInfo& info, const std::vector<int64_t>& shape) {
  if (info.shape != shape)
    throw FormatError("WRONG_TENSOR_SHAPE",
                      info.name + " is " + shapeText(info.shape) + ", but the configuration says " + shapeText(shape),
                      std::string(info.file), info.offset);
}

const TensorInfo& checkedTensor(const ModelSource& source, const std::string& tensor, std::vector<int64_t> shape) {
  const TensorInfo& info = findTensor(source, tensor);
  requireShape(info, shape);
  return info;
}

bool isIgnored(const WeightNeeds& needs, const std::string& tensor) {
  return std::any_of(needs.ignored.begin(), needs.ignored.end(),
                     [&](const std::string& ending) { return tensor.ends_with(ending); });
}

/// The first tensor that nobody asked for, or null.
const TensorInfo* unknownTensor(const TensorFile& tensors, const WeightNeeds& needs) {
  std::vector<std::string_view> known;
  for (const MatrixNeed& need : needs.matrices)
    for (const TensorNeed& tensor : need.sources) known.push_back(tensor.name);
  for (const VectorNeed& need : needs.vectors) known.push_back(need.source);
  std::sort(known.begin(), known.end());
  for (const TensorInfo& info : tensors.tensors())
    if (!std::binary_search(known.begin(), known.end(), info.name) && !isIgnored(needs, info.name)) return &info;
  return nullptr;
}

void refuseUnknownTensors(const ModelSource& source, const WeightNeeds& needs) {
  if (const TensorInfo* info = unknownTensor(*source.tensors, needs))
    throw Error("UNSUPPORTED_ARCHITECTURE", "tensor '" + info->name + "' has no place in the architecture '" +
                                                source.architecture() + "' as it is implemented (" + source.path + ")");
}

/// The format that keeps the bits of a file type.
Format formatOf(FileType type) {
  if (type == FileType::f16) return Format::f16;
  if (type == FileType::bf16) return Format::bf16;
  for (const Format format : {Format::f32, Format::q8_0, Format::q4_0, Format::q4_1})
    if (fileTypeOf(format) == type) return format;
  throw Error("INTERNAL_ERROR", "no format for file type " + std::string(name(type)));
}

void addSource(PlannedMatrix& matrix, const TensorFile& file, const TensorInfo& info, bool fp8Scales) {
  matrix.sources.push_back(&info);
  matrix.scales.push_back(fp8Scales && info.type == FileType::e4m3 ? Fp8Scales(file, info) : Fp8Scales());
}

/// The type in which a source keeps its bits as far as it can. No format has e4m3 with scales of blocks: q8_0's steps
/// are finer above a sixteenth of the largest weight of 32.
FileType keptType(const PlannedMatrix& matrix, size_t i) {
  const bool wholeBlocks = matrix.need->cols % blockShape(FileType::q8_0).elements == 0;
  return matrix.scales[i].any() && wholeBlocks ? FileType::q8_0 : computedType(matrix.sources[i]->type);
}

/// "auto" keeps the file's bits; any other choice converts every matrix. With fp8 those that are sensitive become q8_0,
/// half a bit a weight more (docs/formats.md has what that brings).
void chooseFormat(const std::string& weights, PlannedMatrix& matrix) {
  if (weights == "auto") {
    matrix.sourceType = FileType::e4m3, matrix.format = Format::fp8;
    if (std::all_of(matrix.scales.begin(), matrix.scales.end(), [](const Fp8Scales& s) { return s.byRow(); })) return;
    matrix.sourceType = keptType(matrix, 0);
    for (size_t i = 1; i < matrix.sources.size(); ++i)
      matrix.sourceType = widerType(matrix.sourceType, keptType(matrix, i));
    matrix.format = formatOf(matrix.sourceType);
    return;
  }
  if (!parseFormat(weights, matrix.format) || matrix.format >= Format::q8_0)
    throw Error("UNKNOWN_WEIGHTS_FORMAT",
                "weights '" + weights + "': choose auto, f32, f16, bf16, fp8, nvfp4 or mxfp4");
  matrix.sourceType = matrix.sources[0]->type;
  if (matrix.format == Format::fp8 && matrix.need->sensitive &&
      matrix.need->cols % blockShape(FileType::q8_0).elements == 0)
    matrix.sourceType = FileType::q8_0, matrix.format = Format::q8_0;
}

std::vector<PlannedMatrix> plan(const ModelSource& source, const WeightNeeds& needs, const Backend& backend,
                                const std::string& weights) {
  std::vector<PlannedMatrix> planned;
  size_t offset = 0;
  for (const MatrixNeed& need : needs.matrices) {
    PlannedMatrix matrix{&need, {}, {}, Format::f32, FileType::f32, offset, 0};
    for (const TensorNeed& tensor : need.sources)
      addSource(matrix, *source.tensors, checkedTensor(source, tensor.name, {tensor.rows, need.cols}), needs.fp8Scales);
    chooseFormat(weights, matrix);
    matrix.bytes = backend.packedBytes(matrix.format, need.rows(), need.cols);
    offset += (matrix.bytes + kAlignment - 1) / kAlignment * kAlignment;
    planned.push_back(std::move(matrix));
  }
  return planned;
}

/// A matrix as an update gives it, to be packed in `format`; without sources if it is not in the update.
PlannedMatrix planUpdate(const TensorFile& update, const MatrixNeed& need, bool fp8Scales, Format format) {
  PlannedMatrix matrix{&need, {}, {}, format, fileTypeOf(format), 0, 0};
  std::string present, missing;
  for (const TensorNeed& tensor : need.sources) {
    const TensorInfo* info = update.find(tensor.name);
    std::string& names = info ? present : missing;
    names += (names.empty() ? "" : ", ") + tensor.name;
    if (!info) continue;
    requireShape(*info, {tensor.rows, need.cols});
    addSource(matrix, update, *info, fp8Scales);
  }
  if (!present.empty() && !missing.empty())
    throw Error("INCOMPLETE_MATRIX", "the update has " + present + " without " + missing +
                                         ": they are one matrix in memory, give all of them");
  return matrix;
}

std::string manifestOf(const std::vector<PlannedMatrix>& planned) {
  std::string text;
  for (const PlannedMatrix& matrix : planned)
    text += matrix.need->name + " " + std::string(name(matrix.format)) + " " + std::to_string(matrix.need->rows()) +
            "x" + std::to_string(matrix.need->cols) + " @" + std::to_string(matrix.offset) + "\n";
  return text;
}

/// Refuses NaN and infinite scales and weights, on all threads.
void validate(const TensorInfo& info) {
  const int64_t piece = kConversionPiece / blockShape(info.type).elements;
  const int64_t blocks = info.elements() / blockShape(info.type).elements;
  parallelFor((blocks + piece - 1) / piece, [&](size_t i) {
    const int64_t first = static_cast<int64_t>(i) * piece;
    validateScales(info, first, std::min(piece, blocks - first));
  });
}

/// The tensor in the block type `type`, in `out`.
void convert(const MatrixSource& source, FileType type, std::vector<uint8_t>& out) {
  const BlockShape from = blockShape(source.type), to = blockShape(type);
  const int64_t count = source.rows * source.cols;
  const auto* const data = static_cast<const uint8_t*>(source.data);
  out.resize(count / to.elements * to.bytes);
  parallelFor((count + kConversionPiece - 1) / kConversionPiece, [&](size_t i) {
    const int64_t first = static_cast<int64_t>(i) * kConversionPiece;
    convertBlocks(source.type, data + first / from.elements * from.bytes, type,
                  out.data() + first / to.elements * to.bytes, std::min(kConversionPiece, count - first));
  });
}

/// Rows of `rowBytes` of every head in the other order: those that turn together side by side, or half a head apart.
std::vector<uint8_t> reordered(const TensorNeed& need, const uint8_t* rows, size_t rowBytes) {
  std::vector<uint8_t> out(need.rows * rowBytes);
  const int64_t half = need.headRows / 2;
  for (int64_t row = 0; row < need.rows; ++row) {
    const int64_t head = row / need.headRows * need.headRows, at = row % need.headRows;
    const int64_t from = need.order == RowOrder::pairsFromHalves ? at % 2 * half + at / 2 : at % half * 2 + at / half;
    std::memcpy(out.data() + row * rowBytes, rows + (head + from) * rowBytes, rowBytes);
  }
  return out;
}

/// Packs one matrix; what it needs beside its own place is at most one matrix in the file's or a block type, and one in
/// fp32 where e4m3 has scales that the format does not keep.
void packMatrix(const PlannedMatrix& matrix, Backend& backend, uint8_t* out) {
  std::vector<std::vector<uint8_t>> converted(matrix.sources.size());
  std::vector<std::vector<float>> scaled(matrix.sources.size());
  std::vector<MatrixSource> sources;
  const bool blocks = matrix.format >= Format::q8_0;
  for (size_t i = 0; i < matrix.sources.size(); ++i) {
    const TensorInfo& info = *matrix.sources[i];
    const TensorNeed& need = matrix.need->sources[i];
    validate(info);
    MatrixSource source{info.type, info.data, info.rows(), info.cols()};
    const Fp8Scales& scales = matrix.scales[i];
    if (scales.byRow() && matrix.format == Format::fp8 && need.order == RowOrder::kept) {
      scaled[i] = scales.rows(source.rows);
      source.rowScale = scaled[i].data();
    } else if (scales.any()) {
      scaled[i] = scales.expand(info);
      source.type = FileType::f32, source.data = scaled[i].data();
    }
    if (blocks && source.type != matrix.sourceType) {
      convert(source, matrix.sourceType, converted[i]);
      source.type = matrix.sourceType, source.data = converted[i].data();
    }
    if (need.order != RowOrder::kept) {
      const BlockShape shape = blockShape(source.type);
      const size_t rowBytes = source.cols / shape.elements * shape.bytes;
      converted[i] = reordered(need, static_cast<const uint8_t*>(source.data), rowBytes);
      source.data = converted[i].data();
    }
    sources.push_back(source);
  }
  backend.pack(matrix.format, sources, matrix.need->interleave, out);
}

/// What converting does to whose bits, for the progress line: "Q4_K as q4_1, Q6_K as q8_0".
std::string conversions(const std::vector<PlannedMatrix>& planned) {
  std::vector<std::string> seen;
  for (const PlannedMatrix& matrix : planned)
    for (size_t i = 0; i < matrix.sources.size(); ++i) {
      const FileType type = matrix.sources[i]->type;
      const std::string line = std::string(name(type)) + " as " + std::string(name(matrix.format));
      const bool same = matrix.scales[i].byRow() ? matrix.format == Format::fp8
                                                 : computedType(type) == type && formatOf(type) == matrix.format;
      if (!same && std::find(seen.begin(), seen.end(), line) == seen.end()) seen.push_back(line);
    }
  std::string text;
  for (const std::string& line : seen) text += (text.empty() ? "" : ", ") + line;
  return text;
}

void packAll(const std::vector<PlannedMatrix>& planned, Backend& backend, uint8_t* out, const LoadProgress& progress) {
  const std::string converted = conversions(planned);
  const std::string stage = converted.empty() ? "packing weights" : "converting weights (" + converted + ")";
  int64_t done = 0, total = 0;
  for (const PlannedMatrix& matrix : planned) total += matrix.need->rows() * matrix.need->cols;
  for (const PlannedMatrix& matrix : planned) {
    if (progress) progress(stage.c_str(), done, total);
    packMatrix(matrix, backend, out + matrix.offset);
    done += matrix.need->rows() * matrix.need->cols;
  }
  if (progress) progress(stage.c_str(), total, total);
}

/// All matrices, packed by an earlier run or now.
Memory packed(const std::vector<PlannedMatrix>& planned, const std::string& name, const std::string& manifest,
              Backend& backend, const ModelOptions& options) {
  const size_t bytes = planned.back().offset + planned.back().bytes;
  Memory memory(bytes, "the model's weights");
  const std::span<uint8_t> all(memory.data(), bytes);
  const PackedCache cache(options.cacheFolder, name, manifest);
  if (cache.read(all)) return memory;
  packAll(planned, backend, memory.data(), options.progress);
  const std::string problem = cache.write(all);
  if (!problem.empty() && options.progress)
    options.progress(("packed weights are not cached: " + problem).c_str(), 0, 0);
  return memory;
}

/// The formats of the layers, then each other matrix that differs: "q4_1, head q8_0".
std::string describe(const std::vector<PlannedMatrix>& planned) {
  std::string layers, others;
  for (const PlannedMatrix& matrix : planned) {
    const std::string format(name(matrix.format));
    if (matrix.need->name.starts_with("blk.") && layers.find(format) == std::string::npos)
      layers += (layers.empty() ? "" : "/") + format;
  }
  for (const PlannedMatrix& matrix : planned) {
    const std::string format(name(matrix.format));
    if (!matrix.need->name.starts_with("blk.") && format != layers) others += ", " + matrix.need->name + " " + format;
  }
  return layers + others;
}

std::vector<float> readVector(const TensorInfo& info, const VectorNeed& need) {
  requireShape(info, {need.length});
  validateScales(info);
  std::vector<float> values(need.length);
  dequantize(info.type, info.data, values.data(), need.length);
  return values;
}

}  // namespace

int64_t MatrixNeed::rows() const {
  int64_t sum = 0;
  for (const TensorNeed& source : sources) sum += source.rows;
  return sum;
}

Weights Weights::load(const ModelSource& source, const WeightNeeds& needs, Backend& backend,
                      const ModelOptions& options) {
  Weights weights;
  refuseUnknownTensors(source, needs);
  const std::vector<PlannedMatrix> planned = plan(source, needs, backend, options.weights);
  for (const VectorNeed& need : needs.vectors)
    weights.vectors_[need.name] = readVector(findTensor(source, need.source), need);
  weights.sourceHash_ = source.hash();
  weights.description_ = describe(planned);

  const std::string name = weights.sourceHash_ + "-" + options.weights + "-" + std::to_string(kPackingVersion);
  const std::string manifest = manifestOf(planned);
  weights.memory_ =
      sharedWeights(name + "\n" + manifest, [&] { return packed(planned, name, manifest, backend, options); });
  for (const PlannedMatrix& matrix : planned) {
    const MatrixNeed& need = *matrix.need;
    weights.matrices_[need.name] = {
        backend.matrix(matrix.format, need.rows(), need.cols, weights.memory_->data() + matrix.offset), matrix.offset,
        matrix.bytes};
    if (need.readWhole) weights.bytesPerStep_ += unpaddedBytes(matrix.format, need.rows(), need.cols);
  }
  for (const VectorNeed& need : needs.vectors) weights.bytesPerStep_ += need.length * sizeof(float);
  return weights;
}

/// What a model is known by after an update: by what it was known by before, and all that came, in whatever order.
static std::string hashAfter(const std::string& before, const TensorFile& update) {
  std::vector<const TensorInfo*> byName;
  for (const TensorInfo& tensor : update.tensors()) byName.push_back(&tensor);
  std::sort(byName.begin(), byName.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  std::string facts = before;
  for (const TensorInfo* tensor : byName) {
    facts += "\n" + tensor->name + " " + std::to_string(static_cast<int>(tensor->type));
    for (const int64_t size : tensor->shape) facts += " " + std::to_string(size);
    facts += " " + hex(hashContents({tensor->data, tensor->bytes}));
  }
  return hex(hashContents({reinterpret_cast<const uint8_t*>(facts.data()), facts.size()}));
}

Weights Weights::updated(const TensorFile& update, const WeightNeeds& needs, Backend& backend) const {
  if (const TensorInfo* info = unknownTensor(update, needs))
    throw Error("UNKNOWN_TENSOR", "the model has no tensor '" + info->name + "' (" + std::string(info->file) +
                                      "); give its own names, or those of its architecture in the other kind of file");
  Weights next;
  Memory memory(memory_->size(), "a second set of the model's weights, until the swap,");
  std::vector<PlannedMatrix> changed;
  for (const MatrixNeed& need : needs.matrices) {
    const Packed& old = matrices_.find(need.name)->second;
    PlannedMatrix matrix = planUpdate(update, need, needs.fp8Scales, old.matrix->format());
    if (matrix.sources.empty()) {
      std::memcpy(memory.data() + old.offset, memory_->data() + old.offset, old.bytes);
    } else {
      matrix.offset = old.offset;
      changed.push_back(std::move(matrix));
    }
  }
  next.vectors_ = vectors_;
  for (const VectorNeed& need : needs.vectors)
    if (const TensorInfo* info = update.find(need.source)) next.vectors_[need.name] = readVector(*info, need);
  packAll(changed, backend, memory.data(), nullptr);
  for (const MatrixNeed& need : needs.matrices) {  // a backend may take a copy of its own: all has to be there
    const Packed& old = matrices_.find(need.name)->second;
    const uint8_t* const bytes = memory.data() + old.offset;
    next.matrices_[need.name] = {backend.matrix(old.matrix->format(), need.rows(), need.cols, bytes), old.offset,
                                 old.bytes};
  }
  next.memory_ = std::make_shared<const Memory>(std::move(memory));
  next.bytesPerStep_ = bytesPerStep_, next.description_ = description_;
  next.sourceHash_ = hashAfter(sourceHash_, update);
  return next;
}

const Matrix& Weights::matrix(std::string_view name) const {
  const auto found = matrices_.find(name);
  if (found == matrices_.end()) throw Error("INTERNAL_ERROR", "no matrix '" + std::string(name) + "' was asked for");
  return *found->second.matrix;
}

const float* Weights::vector(std::string_view name) const {
  const auto found = vectors_.find(name);
  if (found == vectors_.end()) throw Error("INTERNAL_ERROR", "no vector '" + std::string(name) + "' was asked for");
  return found->second.data();
}

}  // namespace foretoken
