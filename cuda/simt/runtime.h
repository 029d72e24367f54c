// The CUDA runtime as host code calls it: memory is plain memory, filled with what nobody would compute, and work is
// done when it is issued, unless its stream records it. A block takes a microsecond, whatever it does.
#pragma once
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/memory.h"
#include "cuda/simt/faults.h"
#include "cuda/simt/launch.h"
#include "cuda/simt/model.h"

namespace foretoken::simt {

using Work = std::vector<std::function<void()>>;

/// A stream: nothing but what it is recording.
struct Queue {
  std::unique_ptr<Work> recorded;
};

/// A point in a stream.
struct Event {
  uint64_t blocks = 0;
  bool recorded = false;
};

/// A call of the runtime: `work`, unless the call is to fail.
template <class Work>
cudaError_t call(Call kind, const Work& work) {
  const cudaError_t error = faults.meet(kind);
  if (error == cudaSuccess) work();
  return error;
}
/// One that asks for something, or arranges it.
template <class Work>
cudaError_t ask(const Work& work) {
  return call(Call::other, work);
}
/// One that gives something back, which is gone even where the call fails.
template <class Work>
cudaError_t giveBack(const Work& work) {
  work();
  return ask([] {});
}
/// One that no stream can record.
template <class Work>
cudaError_t callUnrecorded(Call kind, const Queue* queue, const Work& work) {
  return queue && queue->recorded ? cudaErrorStreamCaptureUnsupported : call(kind, work);
}

/// Does the work of a launch, now or whenever what the stream records is launched.
template <class Launch>
cudaError_t issue(Queue* queue, const Launch& work) {
  return call(Call::launch, [&] {
    if (queue && queue->recorded)
      queue->recorded->push_back(work);
    else
      work();
  });
}

/// Bytes of memory of both kinds that are taken, and that there are.
struct Room {
  std::atomic<size_t> taken = 0, most = std::numeric_limits<size_t>::max();
};
inline Room room;

/// Both kinds of memory lie in the host's, filled with NaN.
inline cudaError_t allocate(void** data, size_t bytes) {
  constexpr size_t kAlignment = 256;
  *data = nullptr;
  const cudaError_t error = call(Call::allocate, [&] {
    if (bytes > room.most - std::min(room.taken.load(), room.most.load())) return;
    *data = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (*data) std::memset(*data, 0xff, bytes), room.taken += malloc_usable_size(*data);
  });
  return error == cudaSuccess && *data == nullptr ? cudaErrorMemoryAllocation : error;
}
inline void release(void* data) {
  room.taken -= malloc_usable_size(data);
  std::free(data);
}

}  // namespace foretoken::simt

using cudaStream_t = foretoken::simt::Queue*;
using cudaEvent_t = foretoken::simt::Event*;
using cudaGraph_t = foretoken::simt::Work*;
using cudaGraphExec_t = foretoken::simt::Work*;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocPortable = 1,
                   cudaHostAllocMapped = 2;
struct cudaDeviceProp {
  char name[256];
  int major, minor;
  size_t totalGlobalMem;
};

// --- errors ----------------------------------------------------------------------------------------------------------

inline const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    default: return "cudaErrorUnknown";
  }
}
inline const char* cudaGetErrorString(cudaError_t) { return "as the executor was told to"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

// --- the device ------------------------------------------------------------------------------------------------------

inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) {
  return foretoken::simt::ask([=] { *count = 1; });
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  return foretoken::simt::ask([=] {
    const bool isBlackwell = foretoken::simt::model.hasTensorMemory;
    *properties = {"executor", isBlackwell ? 10 : 9, 0, foretoken::availableMemory()};
  });
}
inline cudaError_t cudaGetDevice(int* device) {
  return foretoken::simt::ask([=] { *device = 0; });
}
inline cudaError_t cudaSetDevice(int) {
  return foretoken::simt::ask([] {});
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  constexpr int kMultiprocessors = 4;
  return foretoken::simt::ask([=] { *value = kMultiprocessors; });
}
inline cudaError_t cudaMemGetInfo(size_t* left, size_t* all) {
  return foretoken::simt::ask([=] { *left = *all = foretoken::availableMemory(); });
}

// --- memory ----------------------------------------------------------------------------------------------------------

inline cudaError_t cudaMalloc(void** data, size_t bytes) { return foretoken::simt::allocate(data, bytes); }
inline cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) { return foretoken::simt::allocate(data, bytes); }
inline cudaError_t cudaFree(void* data) {
  return data == nullptr ? cudaSuccess : foretoken::simt::giveBack([=] { foretoken::simt::release(data); });
}
inline cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return foretoken::simt::callUnrecorded(foretoken::simt::Call::copy, stream, [=] { std::memcpy(to, from, bytes); });
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return foretoken::simt::callUnrecorded(foretoken::simt::Call::copy, stream, [=] { std::memset(to, value, bytes); });
}

// --- kernels ---------------------------------------------------------------------------------------------------------

inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  return foretoken::simt::ask([=] { foretoken::simt::sharedLimits.set(kernel, static_cast<size_t>(value)); });
}

// --- streams and events ----------------------------------------------------------------------------------------------

inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return foretoken::simt::ask([=] { *least = *greatest = 0; });
}
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  return foretoken::simt::ask([=] { *stream = new foretoken::simt::Queue; });
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return foretoken::simt::giveBack([=] { delete stream; });
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return foretoken::simt::callUnrecorded(foretoken::simt::Call::wait, stream, [] {});
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return foretoken::simt::ask([=] { *event = new foretoken::simt::Event; });
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return foretoken::simt::giveBack([=] { delete event; });
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  return foretoken::simt::ask([=] { *event = {foretoken::simt::blocksRun, true}; });
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return foretoken::simt::call(foretoken::simt::Call::wait, [] {});
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (!begin->recorded || !end->recorded) return cudaErrorInvalidResourceHandle;
  return foretoken::simt::ask([=] { *milliseconds = 1e-3f * static_cast<float>(end->blocks - begin->blocks); });
}

// --- graphs ----------------------------------------------------------------------------------------------------------

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return foretoken::simt::callUnrecorded(foretoken::simt::Call::other, stream,
                                         [=] { stream->recorded = std::make_unique<foretoken::simt::Work>(); });
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return foretoken::simt::giveBack([=] { *graph = stream->recorded.release(); });
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned) {
  return foretoken::simt::call(foretoken::simt::Call::allocate,
                               [=] { *executable = new foretoken::simt::Work(*graph); });
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return foretoken::simt::giveBack([=] { delete graph; });
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  return foretoken::simt::call(foretoken::simt::Call::launch, [=] {
    for (const auto& work : *executable) work();
  });
}
