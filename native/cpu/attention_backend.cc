// The CpuBackend operations over keys and values, and sampling.
#include "cpu/attention_backend.h"

#include <algorithm>

#include "common/error.h"
#include "common/memory.h"
#include "cpu/cpu_backend.h"
#include "quant/float_codecs.h"
#include "quant/quantize.h"

namespace foretoken {
namespace {

/// Slots worth spreading over threads when copied.
constexpr size_t kSerialCopies = 2;
/// Heads whose adjusting is shorter than waking the other threads.
constexpr int64_t kSerialHeads = 128;

}  // namespace

size_t CpuBackend::memoryLeft() const { return availableMemory(); }

size_t CpuBackend::kvBytes(const KvShape& shape) const { return KvPool::bytes(shape); }

void CpuBackend::allocateKv(const KvShape& shape) {
  if (!attention_) attention_ = std::make_shared<CpuAttention>(isa_, threads_);
  if (attention_->pool) throw Error("INVALID_ARGUMENT", "the KV pool of this backend is allocated already");
  attention_->pool = std::make_unique<KvPool>(shape);
  attention_->attention = std::make_unique<Attention>(attentionKernels(isa_), shape, threads_);
}

void CpuBackend::copySlots(std::span<const int32_t> from, std::span<const int32_t> to) {
  KvPool& pool = *attention_->pool;
  const int layers = pool.shape().layers;
  if (from.size() <= kSerialCopies) {
    pool.copyLayers(from, to, 0, layers);
  } else {
    threads_.run(layers, [&](int64_t begin, int64_t end, int) {
      pool.copyLayers(from, to, static_cast<int>(begin), static_cast<int>(end));
    });
  }
  pool.copySides(from, to);
}

uint8_t* CpuBackend::side(int32_t slot) { return attention_->pool->side(slot); }

void CpuBackend::adjustHeads(const Pass& pass, int heads, const HeadRules& rules, Tensor& qkv) {
  const KvShape& shape = attention_->pool->shape();
  const int dim = shape.headDim, all = heads + 2 * shape.kvHeads;
  const Kernels& own = kernels(isa_);
  const auto share = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [bias, norm] = rules.of(static_cast<int>(i % all), heads, shape.kvHeads, dim);
      own.adjustHead(static_cast<CpuTensor&>(qkv).data() + i * dim, dim, bias, norm, rules.eps);
    }
  };
  const int64_t count = static_cast<int64_t>(pass.rows) * all;
  if (count <= kSerialHeads) return share(0, count);
  threads_.run(count, [&](int64_t begin, int64_t end, int) { share(begin, end); });
}

void CpuBackend::attention(const Pass& pass, int layer, int heads, const Rope& rope, Tensor& qkv, Tensor& out) {
  attention_->attention->run(pass, *attention_->pool, layer, heads, rope, static_cast<CpuTensor&>(qkv).data(),
                             static_cast<CpuTensor&>(out).data());
}

void CpuBackend::writeKeys(const Pass& pass, int layer, const Rope& rope, Tensor& kv) {
  attention_->attention->writeKeys(pass, *attention_->pool, layer, rope, static_cast<CpuTensor&>(kv).data());
}

void CpuBackend::keep(const Pass& pass, const Tensor& in, int32_t offset) {
  const auto& rows = static_cast<const CpuTensor&>(in);
  for (int r = 0; r < pass.rows; ++r)
    roundRowBf16(rows.row(r), in.width(), reinterpret_cast<uint16_t*>(side(pass.slot[r]) + offset));
}

void CpuBackend::kept(const Pass& pass, int32_t offset, Tensor& out) {
  auto& rows = static_cast<CpuTensor&>(out);
  for (int r = 0; r < pass.rows; ++r) {
    const auto* const from = reinterpret_cast<const uint16_t*>(side(pass.slot[r]) + offset);
    std::transform(from, from + out.width(), rows.row(r), bf16ToFloat);
  }
}

void CpuBackend::sample(const Tensor& logits, int vocabulary, std::span<const SampleRow> rows,
                        std::span<SampleResult> out) {
  if (!attention_) attention_ = std::make_shared<CpuAttention>(isa_, threads_);
  attention_->sampler.sample(static_cast<const CpuTensor&>(logits).data(), logits.width(), vocabulary, rows, out);
}

}  // namespace foretoken
