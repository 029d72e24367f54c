// What an architecture needs from a file, and its weights once they are packed for a backend.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend.h"
#include "common/memory.h"
#include "model/model.h"
#include "model/source.h"

namespace foretoken {

/// How the rows of a head lie that rotary embedding turns in pairs: as the model has them, or as another kind of file
/// does, so that they have to change places (Rope in backend.h).
enum class RowOrder : uint8_t { kept, pairsFromHalves, halvesFromPairs };

/// A tensor of the file by its name there, with the number of rows it must have.
struct TensorNeed {
  std::string name;
  int64_t rows;
  RowOrder order = RowOrder::kept;
  int64_t headRows = 0;  ///< rows of one head, where their order is not kept
};

/// A matrix that an architecture multiplies with: file tensors of `cols` columns stacked by rows, or, with
/// `interleave`, row by row in turn (gate 0, up 0, gate 1, …).
struct MatrixNeed {
  std::string name;  ///< how the architecture calls it
  std::vector<TensorNeed> sources;
  int64_t cols;
  bool interleave = false;
  bool readWhole = true;  ///< false for an embedding of its own, of which a pass reads single rows
  /// Rounding it to the three bits of mantissa of fp8 costs more than half a bit a weight does: with fp8 it is q8_0.
  bool sensitive = false;

  int64_t rows() const;
};

/// A vector kept in fp32.
struct VectorNeed {
  std::string name;
  std::string source;
  int64_t length;
};

struct WeightNeeds {
  std::vector<MatrixNeed> matrices;
  std::vector<VectorNeed> vectors;
  /// Tensors that may be there and are not needed (by exact name or by ending). Any other is an error: a bias that
  /// is passed over would give another model than the file's.
  std::vector<std::string> ignored;
  /// Matrices in e4m3 have scales beside them (scaled_fp8.h).
  bool fp8Scales = false;
};

class Weights {
 public:
  /// Packs everything for `backend`, or takes it from a model that has it already, or from the cache. Throws
  /// FormatError (WRONG_TENSOR_SHAPE, and what validateScales finds), MISSING_TENSOR, UNSUPPORTED_ARCHITECTURE for
  /// tensors nobody asked for, UNKNOWN_WEIGHTS_FORMAT, OUT_OF_MEMORY.
  static Weights load(const ModelSource&, const WeightNeeds&, Backend&, const ModelOptions&);
  /// These weights with the tensors of `update` in place of their own, in the formats that the matrices have now; the
  /// rest is copied. `needs` names the tensors as the update does. Throws UNKNOWN_TENSOR, INCOMPLETE_MATRIX where a
  /// matrix is made of several tensors and some are missing, WRONG_TENSOR_SHAPE, what validateScales finds,
  /// OUT_OF_MEMORY.
  Weights updated(const TensorFile& update, const WeightNeeds& needs, Backend&) const;

  const Matrix& matrix(std::string_view name) const;
  const float* vector(std::string_view name) const;
  /// Bytes that a decode step reads, in their formats without padding.
  size_t bytesPerStep() const { return bytesPerStep_; }
  /// For people: "q4_1, head q8_0".
  const std::string& description() const { return description_; }
  const std::string& sourceHash() const { return sourceHash_; }

 private:
  /// A matrix and the place of its bytes in memory_.
  struct Packed {
    std::unique_ptr<Matrix> matrix;
    size_t offset, bytes;
  };

  std::shared_ptr<const Memory> memory_;
  std::map<std::string, Packed, std::less<>> matrices_;
  std::map<std::string, std::vector<float>, std::less<>> vectors_;
  size_t bytesPerStep_ = 0;
  std::string description_;
  std::string sourceHash_;
};

}  // namespace foretoken
