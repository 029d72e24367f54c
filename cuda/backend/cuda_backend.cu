#include "cuda/backend/cuda_backend.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "common/error.h"
#include "common/memory.h"
#include "cuda/backend/cuda_matrix.h"
#include "cuda/backend/operations.cuh"
#include "cuda/step/compact.cuh"

namespace foretoken::cuda {
namespace {

/// Rows, tiles and so on are counted in steps: eights, then sixteenths of the power of two below.
int stepped(int count) {
  int step = 8;
  while (step * 16 <= count) step *= 2;
  return roundUp(count, step);
}

int steppedSplits(int longest) {
  int splits = 1;
  while (splits * kSplit < longest) splits *= 2;
  return splits;
}

class CudaTensor final : public Tensor {
 public:
  CudaTensor(int64_t rows, int64_t width)
      : width_(width), memory_(stepped(static_cast<int>(rows)) * width * sizeof(float)) {}
  int64_t width() const override { return width_; }
  float* data() const { return memory_.as<float>(); }
  float* row(int64_t index) const { return data() + index * width_; }

  PinnedMemory host;  ///< of the latest `read`

 private:
  int64_t width_;
  DeviceMemory memory_;
};

CudaTensor& own(Tensor& t) { return static_cast<CudaTensor&>(t); }
const CudaTensor& own(const Tensor& t) { return static_cast<const CudaTensor&>(t); }

const CudaMatrix& own(const Matrix& m) { return static_cast<const CudaMatrix&>(m); }

/// Bytes that a page takes for one head.
size_t headBytes(const KvShape& s) {
  return s.format == KvFormat::fp8 ? pageHeadBytes<Fp8Kv>(s.headDim) : pageHeadBytes<Bf16Kv>(s.headDim);
}

size_t keyValueBytes(const KvShape& s) { return headBytes(s) * s.kvHeads * s.layers * static_cast<size_t>(s.pages); }

size_t sideBytes(const KvShape& s) { return static_cast<size_t>(s.pages) * kPageSize * s.sideBytes; }

}  // namespace

CudaBackend::CudaBackend(const BackendOptions& options)
    : options_((useDevice(options.device), options)),
      multiprocessors_(multiprocessors()),
      unit_(currentUnit()),
      threads_(options.threads) {}

CudaBackend::~CudaBackend() { stream_.drain(); }

// --- weights ---------------------------------------------------------------------------------------------------------

// Packed weights are the CPU's (so one cached file serves both); `matrix` brings them into the order of the device.

size_t CudaBackend::packedBytes(Format format, int64_t rows, int64_t cols) const {
  return Layout(format, rows, cols).bytes();
}

void CudaBackend::pack(Format format, std::span<const MatrixSource> sources, bool interleave, uint8_t* out) {
  packMatrix(threads_, format, sources, interleave, out);
}

std::unique_ptr<Matrix> CudaBackend::matrix(Format format, int64_t rows, int64_t cols, const uint8_t* packed) {
  useDevice(options_.device);
  auto made = std::make_unique<CudaMatrix>(format, rows, cols, packed, threads_);
  promptsDiffer_ = promptsDiffer_ || hasLargeProduct(*made);
  return made;
}

/// Whether `linear` multiplies the rows of prompts by it with the product for prefill: for a device and a format always
/// or never.
bool CudaBackend::hasLargeProduct(const Matrix& w) const { return unit_ != MatrixUnit::none && isFp8(own(w).skinny()); }

void CudaBackend::spread(int64_t items, const std::function<void(int64_t, int64_t)>& job) {
  threads_.run(ceilDiv(items, kItemsEach),
               [&](int64_t first, int64_t last, int) { job(first * kItemsEach, std::min(last * kItemsEach, items)); });
}

// --- memory ----------------------------------------------------------------------------------------------------------

/// Nothing but logits is that wide: a model with more tokens than can be drawn from is refused when it is loaded.
std::unique_ptr<Tensor> CudaBackend::tensor(int64_t rows, int64_t width) {
  if (width > kMostTokens)
    throw Error("UNSUPPORTED_VOCABULARY", "backend 'cuda' draws from at most " + std::to_string(kMostTokens) +
                                              " tokens, and rows of " + std::to_string(width) + " were asked for");
  useDevice(options_.device);
  return std::make_unique<CudaTensor>(rows, width);
}

/// Does `work`. Where that throws, nothing of what was noted is left or under way, so that nobody hears of it again:
/// half a pass would run with the next one, when weights that it was noted for may be gone.
template <class Work>
void CudaBackend::orDrop(const Work& work) {
  try {
    work();
  } catch (...) {
    tape_.clear();
    seen_.clear();
    stream_.drain();
    waiting_ = false;
    throw;
  }
}

/// At least so many bytes; where they have to be new, what is noted is carried out first and graphs are forgotten.
void* CudaBackend::scratch(DeviceMemory& memory, size_t bytes) {
  if (memory.size() < bytes) {
    issue();
    finish();
    graphs_.clear();
    memory.renew(bytes);
  }
  return memory.data();
}

size_t CudaBackend::memoryLeft() const {
  useDevice(options_.device);
  return deviceMemoryLeft();
}

size_t CudaBackend::kvBytes(const KvShape& shape) const { return keyValueBytes(shape) + sideBytes(shape); }

void CudaBackend::allocateKv(const KvShape& shape) {
  if (pool_.size() > 0) throw Error("INVALID_ARGUMENT", "the KV pool of this backend is allocated already");
  if (shape.headDim < 32 || shape.headDim > kMaxHeadDim || shape.headDim % kBlockDims != 0)
    throw Error("UNSUPPORTED_HEAD_DIM",
                "head dimension " + std::to_string(shape.headDim) + " is not a multiple of 16 between 32 and 256");
  if (shape.layers < 1 || shape.kvHeads < 1 || shape.pages < 1 || shape.sideBytes < 0)
    throw Error("INVALID_ARGUMENT", "a KV pool needs at least one layer, head and page");
  // In double: the product of sizes out of a file may overflow 64 bits.
  const double all = static_cast<double>(headBytes(shape)) * shape.kvHeads * shape.layers * shape.pages;
  if (shape.pages > std::numeric_limits<int32_t>::max() / kPageSize || all > 1e15)
    throw Error("OUT_OF_MEMORY", "a KV pool of " + std::to_string(shape.pages) + " pages cannot be addressed");
  const size_t pinned = sideBytes(shape);
  if (pinned > availableMemory())  // pinned it would be gone at once
    throw Error("OUT_OF_MEMORY", "drafters of backend 'cuda' keep " + std::to_string(pinned >> 20) +
                                     " MiB of its KV slots in the host's memory, which has " +
                                     std::to_string(availableMemory() >> 20) + " left; give a smaller kvBytes");
  useDevice(options_.device);
  pool_ = DeviceMemory(keyValueBytes(shape));
  sides_ = PinnedMemory(pinned);
  kv_ = shape;
  headBytes_ = headBytes(shape);
  stream_.clear(pool_.data(), pool_.size());
}

KvPages CudaBackend::layer(int index) const {
  const size_t layerBytes = headBytes_ * kv_.kvHeads;
  return {pool_.data() + index * layerBytes, layerBytes * kv_.layers, headBytes_, kv_.headDim, kv_.kvHeads};
}

Sides CudaBackend::sides() const { return {sides_.data(), kv_.sideBytes}; }

void CudaBackend::copySlots(std::span<const int32_t> from, std::span<const int32_t> to) {
  if (from.empty()) return;
  issue();
  std::vector<int32_t> both(from.begin(), from.end());
  both.insert(both.end(), to.begin(), to.end());
  const size_t bytes = both.size() * sizeof(int32_t);
  moved_.reserve(bytes, stream_);
  moved_.send(both.data(), bytes, stream_);
  const CompactArgs args{layer(0), headBytes_ * kv_.kvHeads, moved_.as<int32_t>(), moved_.as<int32_t>() + from.size(),
                         static_cast<int>(from.size())};
  const dim3 grid(kv_.kvHeads, kv_.layers), block(kCompactThreads);
  require(kv_.format == KvFormat::fp8 ? launch(compact<Fp8Kv>, grid, block, 0, stream_.get(), args)
                                      : launch(compact<Bf16Kv>, grid, block, 0, stream_.get(), args),
          "moving slots");
  if (kv_.sideBytes == 0) return;
  for (size_t i = 0; i < from.size(); ++i) std::memmove(side(to[i]), side(from[i]), kv_.sideBytes);
}

/// Kernels write side bytes in passes alone, so that only a pass is waited for.
uint8_t* CudaBackend::side(int32_t slot) {
  finish();
  return sides_.data() ? sides_.data() + static_cast<size_t>(slot) * kv_.sideBytes : nullptr;
}

const float* CudaBackend::read(const Tensor& tensor, int64_t rows) {
  issue();
  auto& t = const_cast<CudaTensor&>(own(tensor));
  const size_t bytes = rows * t.width() * sizeof(float);
  if (t.host.size() < bytes) t.host.renew(bytes);
  stream_.copyOut(t.host.data(), t.data(), bytes);
  waiting_ = true;
  finish();
  return t.host.as<float>();
}

void CudaBackend::write(Tensor& tensor, const float* values, int64_t rows) {
  issue();
  stream_.copyIn(own(tensor).data(), values, rows * tensor.width() * sizeof(float));
}

/// A copy of host memory on the device, made anew where it says something else than when it was made. Its address
/// stays.
template <class T>
const T* CudaBackend::onDevice(const T* values, size_t count) {
  const size_t bytes = count * sizeof(T);
  if (copies_.size() >= manyCopies_ && !copies_.contains(values)) dropOldCopies();
  Copy& copy = copies_[values];
  copy.used = ++uses_;
  const auto* const raw = reinterpret_cast<const uint8_t*>(values);
  if (copy.host.size() != bytes || std::memcmp(copy.host.data(), raw, bytes) != 0) {
    copy.host.clear();  // in case the copy fails
    if (copy.device.size() != bytes) scratch(copy.device, bytes);
    issue();
    stream_.copyIn(copy.device.data(), raw, bytes);
    copy.host.assign(raw, raw + bytes);
  }
  return copy.device.as<const T>();
}

/// Copies that were not used while all others could have been many times: what they are of is no longer there, such as
/// norms of a head that was swapped out, or it is copied again.
void CudaBackend::dropOldCopies() {
  constexpr uint64_t kManyTimes = 16;
  issue();
  finish();
  graphs_.clear();
  const uint64_t recent = kManyTimes * copies_.size();
  std::erase_if(copies_, [&](const auto& entry) { return entry.second.used + recent < uses_; });
  manyCopies_ = std::max(kFewestCopies, 2 * copies_.size());
}

// --- the pass at hand ------------------------------------------------------------------------------------------------

namespace {

/// Calls visit(begin, count) for what a pass is recognised by.
template <class Visit>
void visitPass(const Pass& pass, const Visit& visit) {
  visit(&pass.rows, 1);
  visit(&pass.logitRows, 1);
  visit(pass.logitRow, pass.logitRows);
  for (const int32_t* rows : {pass.token, pass.position, pass.slot, pass.sequence, pass.base})
    if (rows) visit(rows, pass.rows);
  if (!pass.ancestorBegin) return;
  visit(pass.ancestorBegin, pass.rows + 1);
  visit(pass.ancestors, pass.ancestorBegin[pass.rows]);
}

}  // namespace

bool CudaBackend::isCurrent(const Pass& pass) const {
  size_t at = 0;
  bool same = pass.prompts == prompts_;
  visitPass(pass, [&](const int32_t* begin, int count) {
    same = same && at + count <= seen_.size() && std::equal(begin, begin + count, seen_.begin() + at);
    at += count;
  });
  return same && at == seen_.size();
}

/// Operations that follow are of this pass.
void CudaBackend::begin(const Pass& pass) {
  if (!isCurrent(pass)) beginAnew(pass);
}

void CudaBackend::beginAnew(const Pass& pass) {
  issue();
  seen_.clear();
  visitPass(pass, [&](const int32_t* begin, int count) { seen_.insert(seen_.end(), begin, begin + count); });
  words_.begin(pass);
  group_ = 0;
  frequencies_.clear();
  prompts_ = pass.prompts;
  grown();
}

/// The pass has more words. Where they don't fit, what is noted is carried out first: it needs none of the new ones.
void CudaBackend::grown() {
  const size_t bytes = words_.words().size_bytes();
  if (bytes > upload_.room()) {
    issue();
    graphs_.clear();
    upload_.reserve(bytes, stream_);
  }
  sent_ = false;
}

/// The pass's tiles, for attention.
void CudaBackend::see(const Pass& pass, int group) {
  if (group_ == group) return;
  if (group_ != 0) beginAnew(pass);
  words_.addContext(pass, group);
  group_ = group;
  grown();
}

void CudaBackend::turn(const Pass& pass, const Rope& rope) {
  if (std::equal(frequencies_.begin(), frequencies_.end(), rope.frequency.begin(), rope.frequency.end())) return;
  if (!frequencies_.empty()) {
    const int group = group_;
    beginAnew(pass);
    if (group != 0) see(pass, group);
  }
  words_.addRotary(pass, rope);
  frequencies_.assign(rope.frequency.begin(), rope.frequency.end());
  grown();
}

template <class Launch>
void CudaBackend::note(const Launch& launch) {
  tape_.emplace_back(launch);
}

/// Sends what is noted to the stream.
void CudaBackend::issue() {
  if (tape_.empty()) return;
  orDrop([this] {
    useDevice(options_.device);
    if (!sent_) {
      const auto words = words_.words();
      upload_.send(words.data(), std::min(words.size_bytes(), upload_.room()), stream_);
      sent_ = true;
    }
    const Tape tape = std::move(tape_);
    tape_.clear();
    waiting_ = true;
    if (prompts_)
      issueAll(tape, stream_);
    else
      graphs_.run(tape, stream_);
  });
}

/// Waits until all that was noted is done.
void CudaBackend::finish() {
  issue();
  if (!waiting_) return;
  orDrop([this] { stream_.synchronise(); });
  waiting_ = false;
}

// --- operations ------------------------------------------------------------------------------------------------------

// Whatever throws on the way, be it the host that has no memory for what is noted: the pass is dropped.

void CudaBackend::embed(const Pass& pass, const Matrix& table, Tensor& out) {
  orDrop([&] {
    beginAnew(pass);
    note(EmbedOp{passWords(), own(table).skinny(), own(table).weights(), own(out).data(), stepped(pass.rows)});
  });
}

/// out (as `how` says)= W · norm(in), for the pass's rows or those whose logits are wanted.
void CudaBackend::multiply(const Matrix& w, const Tensor& in, const float* norm, float eps, bool ofLogitRows, int rows,
                           Tensor& out, Finish how) {
  const CudaMatrix& m = own(w);
  const auto cols = static_cast<int>(m.cols()), outputs = static_cast<int>(m.rows());
  const float* const weight = norm ? onDevice(norm, cols) : nullptr;
  Activations x{nullptr, nullptr, rows, cols};
  x.fragments = static_cast<uint4*>(scratch(activations_, x.size() * sizeof(uint4)));
  x.factors = static_cast<float*>(scratch(factors_, rows * sizeof(float)));
  const SkinnyPlan plan = skinnyPlan(m.skinny(), outputs, cols, rows);
  float* const sums = static_cast<float*>(scratch(sums_, plan.sums(outputs, rows) * sizeof(float)));
  note(NormaliseOp{{{passWords(), own(in).data(), weight, eps, ofLogitRows}, x, weightCode(m.skinny())}});
  note(ProductOp{m.skinny(), plan, m.weights(), x, {{own(out).data(), how}, sums}});
}

/// The same for the rows of prompts, with inputs in e4m3.
void CudaBackend::multiplyPrompts(const Matrix& w, const Tensor& in, const float* norm, float eps, int rows,
                                  Tensor& out, Finish how) {
  const CudaMatrix& m = own(w);
  const auto cols = static_cast<int>(m.cols());
  const float* const weight = norm ? onDevice(norm, cols) : nullptr;
  LargeInputs x{nullptr, nullptr, rows, cols};
  x.codes = static_cast<uint8_t*>(scratch(activations_, static_cast<size_t>(rows) * x.pitch()));
  x.scales = static_cast<float*>(scratch(factors_, static_cast<size_t>(rows) * x.blocks() * sizeof(float)));
  note(QuantizeOp{{{passWords(), own(in).data(), weight, eps, /*ofLogitRows=*/false}, x}});
  note(LargeProductOp{{m.weights(), m.skinny()}, x, {own(out).data(), how}});
}

void CudaBackend::linear(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
                         Epilogue epilogue) {
  const Finish how = epilogue == Epilogue::add      ? Finish::add
                     : epilogue == Epilogue::swiglu ? Finish::swiglu
                     : epilogue == Epilogue::geglu  ? Finish::geglu
                                                    : Finish::store;
  const int rows = stepped(pass.rows);
  orDrop([&] {
    begin(pass);
    if (pass.prompts && hasLargeProduct(w))
      multiplyPrompts(w, in, norm, eps, rows, out, how);
    else
      multiply(w, in, norm, eps, /*ofLogitRows=*/false, rows, out, how);
  });
}

void CudaBackend::logits(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps,
                         Tensor& out) {
  orDrop([&] {
    begin(pass);
    multiply(w, in, norm, eps, true, stepped(pass.logitRows), out, Finish::store);
  });
}

void CudaBackend::adjustHeads(const Pass& pass, int heads, const HeadRules& rules, Tensor& qkv) {
  const int dim = kv_.headDim, keys = kv_.kvHeads * dim;
  const auto copied = [&](const float* values, int count) { return values ? onDevice(values, count) : nullptr; };
  orDrop([&] {
    begin(pass);
    const HeadRules there{copied(rules.queryBias, heads * dim), copied(rules.keyBias, keys),
                          copied(rules.valueBias, keys),        copied(rules.queryNorm, dim),
                          copied(rules.keyNorm, dim),           rules.eps};
    note(HeadsOp{{passWords(), own(qkv).data(), heads, kv_.kvHeads, dim, there}, stepped(pass.rows)});
  });
}

template <class Codec>
void CudaBackend::append(const Pass& pass, int layerIndex, int heads, const Rope& rope, const float* in) {
  turn(pass, rope);
  const int rows = stepped(pass.rows);
  auto* const queries = static_cast<uint16_t*>(
      scratch(queries_, static_cast<size_t>(rows) * std::max(heads, 1) * kv_.headDim * sizeof(uint16_t)));
  const float scale = 1.4426950408889634f / std::sqrt(static_cast<float>(kv_.headDim));
  note(AppendOp<Codec>{{passWords(), in, queries, layer(layerIndex), heads, rope.interleaved, scale}, rows});
}

/// Splits are shared out among blocks where tiles alone would leave the device idle, and their results have room.
template <class Codec>
void CudaBackend::attend(const Pass& pass, int layerIndex, int heads, const Rope& rope, const float* qkv, float* out) {
  const int group = heads / kv_.kvHeads;
  see(pass, group);
  append<Codec>(pass, layerIndex, heads, rope, qkv);
  const AttentionExtent extent{stepped(pass.rows), stepped(words_.tiles()), steppedSplits(words_.longest()),
                               words_.tree()};
  const size_t bytes = static_cast<size_t>(extent.rows) * heads * extent.splits * (kv_.headDim + 2) * sizeof(float);
  const bool cut =
      extent.splits > 1 && words_.tiles() * kv_.kvHeads < kBlocksEach * multiprocessors_ && bytes <= kMostPartialBytes;
  float* const partials = cut ? static_cast<float*>(scratch(partials_, bytes)) : nullptr;
  note(AttendOp<Codec>{
      {passWords(), queries_.as<uint16_t>(), layer(layerIndex), heads, group, partials, extent.splits, out}, extent});
}

void CudaBackend::attention(const Pass& pass, int layerIndex, int heads, const Rope& rope, Tensor& qkv, Tensor& out) {
  orDrop([&] {
    begin(pass);
    if (kv_.format == KvFormat::fp8)
      attend<Fp8Kv>(pass, layerIndex, heads, rope, own(qkv).data(), own(out).data());
    else
      attend<Bf16Kv>(pass, layerIndex, heads, rope, own(qkv).data(), own(out).data());
  });
}

void CudaBackend::writeKeys(const Pass& pass, int layerIndex, const Rope& rope, Tensor& kv) {
  orDrop([&] {
    begin(pass);
    if (kv_.format == KvFormat::fp8)
      append<Fp8Kv>(pass, layerIndex, 0, rope, own(kv).data());
    else
      append<Bf16Kv>(pass, layerIndex, 0, rope, own(kv).data());
  });
}

void CudaBackend::project(const Pass& pass, const Tensor& in, const KeyProjection& projection) {
  const auto width = static_cast<int>(in.width());
  orDrop([&] {
    begin(pass);
    const uint32_t* const signs = onDevice(projection.signs, static_cast<size_t>(ceilDiv(width, 32)) * kKeyWidth);
    const float* const centre = onDevice(projection.centre, kKeyWidth);
    note(ProjectOp{{passWords(), own(in).data(), width, signs, centre, sides()}, stepped(pass.rows)});
  });
}

void CudaBackend::keep(const Pass& pass, const Tensor& in, int32_t offset) {
  orDrop([&] {
    begin(pass);
    note(KeepOp{passWords(), own(in).data(), static_cast<int>(in.width()), sides(), offset, stepped(pass.rows), false});
  });
}

void CudaBackend::kept(const Pass& pass, int32_t offset, Tensor& out) {
  orDrop([&] {
    begin(pass);
    note(
        KeepOp{passWords(), own(out).data(), static_cast<int>(out.width()), sides(), offset, stepped(pass.rows), true});
  });
}

void CudaBackend::addRows(const Tensor& in, std::span<const int32_t> row, Tensor& out, int64_t first) {
  if (row.empty()) return;
  orDrop([&] {
    if (words_.words().empty()) beginAnew(Pass{});
    int list = words_.addList(row);
    if (list < 0) {
      issue();
      words_.clearLists();
      list = words_.addList(row);
    }
    grown();
    note(AddListedOp{passWords(), list, own(in).data(), own(out).row(first), static_cast<int>(in.width()),
                     stepped(static_cast<int>(row.size()))});
  });
}

void CudaBackend::sample(const Tensor& logits, int vocabulary, std::span<const SampleRow> rows,
                         std::span<SampleResult> out) {
  const auto asked = std::chrono::steady_clock::now();
  issue();
  orDrop([&] {
    passed_.record(stream_);
    // Products write their rows without gaps, whatever their tensor has room for: logits of a head have room for more.
    sampler_.ask(own(logits).data(), vocabulary, vocabulary, rows, stream_);
    drawn_.record(stream_);
    stream_.synchronise();
  });
  waiting_ = false;
  sampler_.take(rows, out);
  const std::chrono::duration<double> all = std::chrono::steady_clock::now() - asked;
  waited_ = std::max(0.0, all.count() - drawingSeconds());
}

}  // namespace foretoken::cuda
