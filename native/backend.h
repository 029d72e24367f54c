// The one interface that cpu/ and cuda/ implement; engine and model code see nothing else.
//
// A forward pass runs over *rows*: one row is one token at one position of one sequence. Prompt tokens, a plain decode
// step and the nodes of a draft tree are all rows. What a row computes never depends on which other rows are in the
// pass, on how they are ordered, or on how many threads run (docs/architecture.md, promise 3): every operation below is
// defined per row, with its reduction order fixed by that definition. There may be two definitions of a product, one
// for the rows of prompts and one for all others (Pass::prompts).
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "quant/format.h"

namespace foretoken {

/// A weight matrix [rows = outputs, cols = inputs], packed for one backend. Bytes belong to whoever mapped them.
class Matrix {
 public:
  virtual ~Matrix() = default;
  Format format() const { return format_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

 protected:
  Matrix(Format format, int64_t rows, int64_t cols) : format_(format), rows_(rows), cols_(cols) {}

 private:
  Format format_;
  int64_t rows_, cols_;
};

/// Activations [rows][width] fp32, row-major, in the backend's memory.
class Tensor {
 public:
  virtual ~Tensor() = default;
  virtual int64_t width() const = 0;
};

/// Source of a matrix to be packed: a file tensor, [rows][cols] row-major in `type`.
struct MatrixSource {
  FileType type;
  const void* data;
  int64_t rows, cols;
  const float* rowScale = nullptr;  ///< of e4m3: what the numbers of each row are multiplied by; null = nothing
};

/// Rotary embedding: angle(position, i) = position * frequency[i], i < headDim / 2. The pair of i is
/// (i, i + headDim / 2) ("neox", as Hugging Face stores Llama weights) or (2i, 2i + 1) ("interleaved", as GGUF does).
struct Rope {
  std::span<const float> frequency;
  bool interleaved;
};

/// What heads become before attention takes them; null = they stay as they are.
struct HeadRules {
  const float *queryBias = nullptr, *keyBias = nullptr, *valueBias = nullptr;  ///< [heads of a kind * headDim], added
  const float *queryNorm = nullptr, *keyNorm = nullptr;  ///< [headDim]: each head then becomes its RMSNorm with `eps`
  float eps = 0;
  bool operator==(const HeadRules&) const = default;

  /// What concerns one head, counted queries, keys, values.
  struct OfHead {
    const float *bias, *norm;
  };
  constexpr OfHead of(int head, int heads, int kvHeads, int headDim) const {
    const int keys = heads + kvHeads;
    const auto behind = [=](const float* biases, int first) {
      return biases ? biases + (head - first) * headDim : nullptr;
    };
    if (head < heads) return {behind(queryBias, 0), queryNorm};
    if (head < keys) return {behind(keyBias, heads), keyNorm};
    return {behind(valueBias, keys), nullptr};
  }
};

/// What keys and values are kept in. fp8: e4m3, with a power of two for each position, head and of K and V.
enum class KvFormat : uint8_t { bf16, fp8 };

/// Paged keys and values of every layer. One slot holds one position of one sequence; slot = page * kPageSize +
/// offset. Besides K and V a slot may carry `sideBytes` bytes of whatever drafters keep of the position.
struct KvShape {
  int layers, kvHeads, headDim, pages, sideBytes;
  KvFormat format = KvFormat::bf16;
};
constexpr int kPageSize = 16;

/// Numbers of a position's key: what the target made of it, small enough to keep beside every position.
constexpr int kKeyWidth = 64;

/// Sums of a projection are made in so many parts.
constexpr int kKeyParts = 16;

/// How a hidden state h becomes a key of int8: p[j] = sum over k of h[k] * signs[k][j], over |h|, less centre[j];
/// key[j] = p[j] * 127 / |p|, rounded to the nearest even. A random projection keeps angles; what all states have in
/// common is taken off. All zeros where h or p has no direction. All backends give the same bits: the sum over k is
/// that of kKeyParts parts, each of as many whole words of `signs` (the last ones of what is left), in order within a
/// part and then part by part; squares are summed in sixteen lanes by index mod 16, the lanes in halves, then the rest.
struct KeyProjection {
  /// [width of h / 32, rounded up][kKeyWidth]: bit 31 - k % 32 is set where signs[k] is -1, else it is 1. Products are
  /// exact; and a pass, which leaves nothing in the caches, has few bytes to read.
  const uint32_t* signs;
  const float* centre;  ///< [kKeyWidth]
};

/// What the rows of one pass are. All spans are indexed by row unless said otherwise; the arrays outlive the pass.
struct Pass {
  int rows = 0;
  const int32_t* token = nullptr;     ///< token id
  const int32_t* position = nullptr;  ///< logical position in its sequence (rotary angle)
  const int32_t* slot = nullptr;      ///< KV slot the row's key and value are written to
  const int32_t* sequence = nullptr;  ///< index into `pages`
  const int32_t* base = nullptr;      ///< the row attends to positions [0, base) through its sequence's pages …
  /// [rows + 1] … then to `ancestors[ancestorBegin[r] .. ancestorBegin[r + 1])`, in order
  const int32_t* ancestorBegin = nullptr;
  const int32_t* ancestors = nullptr;  ///< KV slots of positions base, base + 1, …; a tree node ends with its own slot
  /// [sequences] page table of each sequence: page of positions 16 i .. 16 i + 15
  const int32_t* const* pages = nullptr;
  int logitRows = 0;
  const int32_t* logitRow = nullptr;  ///< [logitRows] rows whose logits are wanted, ascending
  /// All rows are of prompts (else none is): a backend may compute them with products of their own (promptsDiffer).
  /// Which positions are the prompt's is fixed by a sequence's request, whenever and why-ever they are computed.
  bool prompts = false;
};

/// How one row's token is drawn. Noise is addressed by (seed, position) alone (promise 2).
struct SampleRow {
  int32_t logitRow;  ///< row of the logits tensor
  uint64_t seed;
  int64_t position;       ///< position of the token being drawn
  float temperature = 0;  ///< 0 = greedy (highest logit, lowest id on ties)
  int32_t topK = 0;       ///< 0 = off
  float topP = 1, minP = 0;
  float repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0;
  const int32_t* history = nullptr;  ///< tokens that penalties count: everything before `position` within the window
  int32_t historyLength = 0;
  const int32_t* history2 = nullptr;  ///< second part of the history (a draft path), after the first
  int32_t history2Length = 0;
  const int32_t* biasToken = nullptr;  ///< [biasCount] logit bias
  const float* biasValue = nullptr;
  int32_t biasCount = 0;
  /// -1 = none, else how many alternatives to return besides the drawn token (at most kMaxLogprobs)
  int32_t logprobs = -1;
};
constexpr int kMaxLogprobs = 20;

struct SampleResult {
  int32_t token;
  float logprob;  ///< log-probability of `token` under softmax of the raw logits; set when logprobs >= 0
  int32_t topToken[kMaxLogprobs];
  float topLogprob[kMaxLogprobs];
};

enum class Epilogue : uint8_t {
  store,   ///< out = W x
  add,     ///< out += W x
  swiglu,  ///< W holds gate and up rows interleaved (gate 0, up 0, gate 1, …): out[i] = silu(gate_i) * up_i
  geglu,   ///< the same with gelu(gate_i), in GELU's tanh form
};
/// Whether two rows make one result.
constexpr bool isGated(Epilogue epilogue) { return epilogue == Epilogue::swiglu || epilogue == Epilogue::geglu; }

/// Part of the key of cached weights: raise it whenever `Backend::pack` would write other bytes for the same sources.
constexpr int kPackingVersion = 1;

/// Scratch of a pass that lives with the model: tensors are allocated once for the largest number of rows.
class Backend {
 public:
  virtual ~Backend() = default;

  // --- weights -----------------------------------------------------------------------------------------------------
  /// Bytes `pack` writes for this shape; independent of the machine's instruction set.
  virtual size_t packedBytes(Format, int64_t rows, int64_t cols) const = 0;
  /// Converts `sources` (stacked by rows; `interleave` takes one row of each in turn) into packed form at `out`
  /// (64-byte aligned). Runs on all threads. Integer-block formats accept only their own file type; fp8 keeps codes and
  /// scales of e4m3 that has any.
  virtual void pack(Format, std::span<const MatrixSource> sources, bool interleave, uint8_t* out) = 0;
  /// Wraps packed bytes (which must stay valid and 64-byte aligned). Other backends of its kind may multiply by it
  /// where they have made a matrix of at least as many columns.
  virtual std::unique_ptr<Matrix> matrix(Format, int64_t rows, int64_t cols, const uint8_t* packed) = 0;

  /// Whether `linear` may give rows other bits in a pass of prompts than in any other, with the matrices made so far.
  virtual bool promptsDiffer() const { return false; }

  // --- memory ------------------------------------------------------------------------------------------------------
  virtual std::unique_ptr<Tensor> tensor(int64_t rows, int64_t width) = 0;
  /// Bytes that are left where keys and values lie.
  virtual size_t memoryLeft() const = 0;
  /// Bytes that `allocateKv` takes.
  virtual size_t kvBytes(const KvShape&) const = 0;
  /// Allocates the KV pool (once per backend instance). Throws OUT_OF_MEMORY instead of letting the kernel kill the
  /// process, UNSUPPORTED_KV_FORMAT where this backend has no such format.
  virtual void allocateKv(const KvShape&) = 0;
  /// Copies slots (all layers, K, V and side bytes): an accepted branch moving to its place.
  virtual void copySlots(std::span<const int32_t> from, std::span<const int32_t> to) = 0;
  /// The side bytes of a slot, host memory.
  virtual uint8_t* side(int32_t slot) = 0;
  /// Host view of a tensor's first rows (CPU: no copy).
  virtual const float* read(const Tensor&, int64_t rows) = 0;
  virtual void write(Tensor&, const float* values, int64_t rows) = 0;

  // --- the forward pass: operations over pass.rows rows --------------------------------------------------------------
  /// out[r] = table[token[r]], dequantised.
  virtual void embed(const Pass&, const Matrix& table, Tensor& out) = 0;
  /// out (epilogue)= W · norm(in); `norm` null = in as it is, else RMSNorm with that weight [cols] and `eps`.
  virtual void linear(const Pass&, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
                      Epilogue) = 0;
  /// The head: out[i] = W · norm(in[logitRow[i]]) for i < pass.logitRows.
  virtual void logits(const Pass&, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out) = 0;
  /// qkv as in `attention`, which takes what this leaves.
  virtual void adjustHeads(const Pass&, int heads, const HeadRules&, Tensor& qkv) = 0;
  /// qkv [rows][(heads + 2 kvHeads) * headDim]: rotates q and k, writes k and v to the KV slots of `layer`, then
  /// out [rows][heads * headDim] = softmax(q kᵀ / sqrt(headDim)) v over the row's positions in logical order.
  virtual void attention(const Pass&, int layer, int heads, const Rope&, Tensor& qkv, Tensor& out) = 0;
  /// Writes the key of in[r] to the first kKeyWidth side bytes of slot[r].
  virtual void project(const Pass&, const Tensor& in, const KeyProjection&) = 0;
  /// Writes in[r], rounded to bf16, to the side bytes of slot[r] from `offset` on.
  virtual void keep(const Pass&, const Tensor& in, int32_t offset) = 0;
  /// out[r] = what `keep` wrote to slot[r].
  virtual void kept(const Pass&, int32_t offset, Tensor& out) = 0;
  /// The part of `attention` that gives, without the one that takes: kv [rows][2 kvHeads * headDim] goes to the KV
  /// slots of `layer`, keys rotated.
  virtual void writeKeys(const Pass&, int layer, const Rope&, Tensor& kv) = 0;
  /// out[first + i] += in[row[i]].
  virtual void addRows(const Tensor& in, std::span<const int32_t> row, Tensor& out, int64_t first) = 0;
  /// Draws a token for each row of `logits` named in `rows`.
  virtual void sample(const Tensor& logits, int vocabulary, std::span<const SampleRow> rows,
                      std::span<SampleResult> out) = 0;

  // --- work of the CPU's between passes ---
  /// Calls job(first, last) for ranges that cover [0, items) once, at the same time where the backend has threads of
  /// the CPU, and returns when all have. The job must not throw.
  virtual void spread(int64_t items, const std::function<void(int64_t first, int64_t last)>& job) {
    if (items > 0) job(0, items);
  }

  // --- time ----------------------------------------------------------------------------------------------------------
  // A backend may be done with an operation later than when the call returns.
  /// Waits until all that was asked for is done: for whoever wants to know how long it took.
  virtual void settle() {}
  /// Of the seconds that the latest `sample` took, those in which it waited for operations before it.
  virtual double waited() const { return 0; }
};

struct CpuOptions {
  int threads = 0;  ///< 0 = physical cores this process may run on
  /// "" = best; "portable", "neon", "avx2", "avx512", "avx512fp16", "amx" force one (tests); ISA_UNAVAILABLE if the CPU
  /// lacks it
  std::string isa = "";
};
std::unique_ptr<Backend> createCpuBackend(const CpuOptions&);
/// Instruction-set paths this CPU can run, best first.
std::span<const char* const> availableIsas();

struct CudaOptions {
  int device = 0;
  int threads = 1;  ///< of the host, that pack weights and look drafts up
};
/// The backend of libforetoken_cuda.so. Throws CUDA_UNAVAILABLE without library, driver or device, CUDA_ERROR where the
/// device fails.
std::unique_ptr<Backend> createCudaBackend(const CudaOptions&);

}  // namespace foretoken
