// A target model: configuration, weights in one compute format, and the forward pass over Backend operations.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend.h"
#include "format/tensor_source.h"

namespace foretoken {

struct ModelConfig {
  std::string architecture;  ///< "llama"
  int layers, width, heads, kvHeads, headDim, ffn, vocabulary, contextLength;
  float normEps;
  std::vector<float> ropeFrequency;  ///< [headDim / 2], Llama 3 scaling already applied
  bool ropeInterleaved = false;      ///< layout of the file's q and k rows
  bool ggufInterleaved = false;      ///< that of GGUF files of this architecture
  bool tiedHead;
  bool qkvBias = false;    ///< queries, keys and values have a bias
  bool fp8Scales = false;  ///< matrices in e4m3 have scales beside them
  bool headNorms = false;  ///< each head of queries and keys is normalised
  bool gelu = false;       ///< what gates MLPs, in its tanh form, instead of SiLU
};

/// How far loading has come; `done` and `total` count weights, both 0 with a mere message. Called from the loading
/// thread.
using LoadProgress = std::function<void(const char* stage, int64_t done, int64_t total)>;

struct ModelOptions {
  std::string weights = "auto";  ///< "auto" keeps the file's bits; or a Format name ("f32" is the reference path)
  std::string cacheFolder;       ///< where packed weights are kept; empty = never cached
  int maxRows = 512;             ///< largest pass; longer prompts are prefilled in chunks
  int maxLogitRows = 128;        ///< most rows of one pass whose logits are wanted (size of the logits tensor)
  LoadProgress progress;
};

/// What is read off a pass besides its logits. Hidden states are the residual stream after a layer (0 = after the
/// embedding, ModelConfig::layers = before the final norm).
struct Capture {
  std::vector<int> layers{};
  float* out = nullptr;                       ///< [layers.size()][pass.rows][width], host memory
  const KeyProjection* projection = nullptr;  ///< null = no keys; else every row's key goes to its slot's side bytes …
  int keyLayer = 0;                           ///< … made of the hidden state after this layer
  std::vector<int>
      keptLayers{};        ///< every row's hidden states after these layers go to its slot's side bytes, in bf16 …
  int32_t keptOffset = 0;  ///< … one after the other from here on
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  /// Runs one pass; logits() then holds pass.logitRows rows of `vocabulary` floats.
  virtual void forward(const Pass&, const Capture* capture) = 0;
  virtual const Tensor& logits() const = 0;
  /// A row for every token: what a pass begins with, and what its logits are products with.
  virtual const Matrix& embedding() const = 0;
  virtual const Matrix& output() const = 0;
  /// Scale of the norm before that product.
  virtual const float* outputNorm() const = 0;
  /// Bytes of weights a decode step reads, in their formats without padding.
  virtual size_t weightBytes() const = 0;
  /// The format of each part, for people ("q4_1, head q8_0").
  virtual std::string weightsDescription() const = 0;
  /// Hex hash that identifies the weights: of the source's contents (key of the packed cache), and of all updates
  /// since. What is learned of these weights, and means nothing with others, carries it.
  virtual std::string sourceHash() const = 0;
  /// The same model with the tensors of `update`, under the names of either kind of file, in place of its own, in the
  /// formats that it has now; `packing` is a backend of the same kind. Both share what a pass computes on the way, so
  /// that one of them runs at a time; otherwise this one is untouched, and may run meanwhile. Throws what
  /// Weights::updated does, and NO_TENSORS.
  virtual std::unique_ptr<Model> updated(const TensorFile& update, Backend& packing) const = 0;
};

/// Opens a GGUF file or a safetensors folder and packs its weights for `backend`, which must outlive the model. Errors:
/// FormatError, UNKNOWN_MODEL_FILE, UNSUPPORTED_ARCHITECTURE, MISSING_TENSOR, UNKNOWN_WEIGHTS_FORMAT, OUT_OF_MEMORY.
std::unique_ptr<Model> loadModel(const std::string& path, Backend& backend, const ModelOptions& options);

}  // namespace foretoken
