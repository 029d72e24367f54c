// The trials and all of the library that they run, over the executor of cuda/simt, in one piece.
#pragma once
#include "bench/gpu/trials.cu"
#include "bench/gpu/trials_backend.cu"
#include "bench/gpu/trials_drafts.cu"
#include "bench/gpu/trials_products.cu"
#include "bench/gpu/trials_training.cu"
#include "cuda/attention/attention_bf16.cu"
#include "cuda/attention/attention_fp8.cu"
#include "cuda/backend/cuda_backend.cu"
#include "cuda/gemm/large.cu"
#include "cuda/gemm/scaled.cu"
#include "cuda/gemm/skinny.cu"
#include "cuda/train/device_layers.cu"
#include "cuda/train/device_rows.cu"
#include "cuda/verify/verify.cu"

namespace foretoken::bench {

/// The executor is a device that has this unit.
inline void standFor(cuda::MatrixUnit unit) { simt::model.hasTensorMemory = unit == cuda::MatrixUnit::tcgen05; }

}  // namespace foretoken::bench
