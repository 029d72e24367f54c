// The CUDA runtime as host code calls it: memory is plain memory, filled with what nobody would compute, and work is
// done when it is issued, unless its stream records it. A block takes a microsecond, whatever it does.
#pragma once
#include <cstdlib>
#include <cstring>
#include <functional>
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

/// What a call other than a launch gets on a stream that may be recording.
inline cudaError_t meetUnrecorded(Call call, const Queue* queue) {
  return queue && queue->recorded ? cudaErrorStreamCaptureUnsupported : faults.meet(call);
}

/// Does the work of a launch, now or whenever what the stream records is launched.
template <class Launch>
cudaError_t issue(Queue* queue, const Launch& work) {
  const cudaError_t error = faults.meet(Call::launch);
  if (error != cudaSuccess) return error;
  if (queue && queue->recorded)
    queue->recorded->push_back(work);
  else
    work();
  return cudaSuccess;
}

/// Both kinds of memory lie in the host's.
inline cudaError_t allocate(void** data, size_t bytes, int filling) {
  constexpr size_t kAlignment = 256;
  const cudaError_t error = faults.meet(Call::allocate);
  if (error != cudaSuccess) return error;
  *data = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (*data == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*data, filling, bytes);
  return cudaSuccess;
}

}  // namespace foretoken::simt

using cudaStream_t = foretoken::simt::Queue*;
using cudaEvent_t = foretoken::simt::Event*;
using cudaGraph_t = foretoken::simt::Work*;
using cudaGraphExec_t = foretoken::simt::Work*;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
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
  return *count = 1, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  const bool isBlackwell = foretoken::simt::model.hasTensorMemory;
  *properties = {"executor", isBlackwell ? 10 : 9, 0, foretoken::availableMemory()};
  return foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaGetDevice(int* device) {
  return *device = 0, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaSetDevice(int) { return foretoken::simt::faults.meet(foretoken::simt::Call::other); }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  constexpr int kMultiprocessors = 4;
  return *value = kMultiprocessors, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaMemGetInfo(size_t* left, size_t* all) {
  return *left = *all = foretoken::availableMemory(), foretoken::simt::faults.meet(foretoken::simt::Call::other);
}

// --- memory ----------------------------------------------------------------------------------------------------------

inline cudaError_t cudaMalloc(void** data, size_t bytes) { return foretoken::simt::allocate(data, bytes, 0xff); }
inline cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  return foretoken::simt::allocate(data, bytes, 0xff);
}
inline cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  return std::free(data), foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  const cudaError_t error = foretoken::simt::meetUnrecorded(foretoken::simt::Call::copy, stream);
  if (error == cudaSuccess) std::memcpy(to, from, bytes);
  return error;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const cudaError_t error = foretoken::simt::meetUnrecorded(foretoken::simt::Call::copy, stream);
  if (error == cudaSuccess) std::memset(to, value, bytes);
  return error;
}

// --- streams and events ----------------------------------------------------------------------------------------------

inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return *least = *greatest = 0, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  const cudaError_t error = foretoken::simt::faults.meet(foretoken::simt::Call::other);
  if (error == cudaSuccess) *stream = new foretoken::simt::Queue;
  return error;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return delete stream, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return foretoken::simt::meetUnrecorded(foretoken::simt::Call::wait, stream);
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  const cudaError_t error = foretoken::simt::faults.meet(foretoken::simt::Call::other);
  if (error == cudaSuccess) *event = new foretoken::simt::Event;
  return error;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return delete event, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  const cudaError_t error = foretoken::simt::faults.meet(foretoken::simt::Call::other);
  if (error == cudaSuccess) *event = {foretoken::simt::blocksRun, true};
  return error;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return foretoken::simt::faults.meet(foretoken::simt::Call::wait);
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (!begin->recorded || !end->recorded) return cudaErrorInvalidResourceHandle;
  *milliseconds = 1e-3f * static_cast<float>(end->blocks - begin->blocks);
  return foretoken::simt::faults.meet(foretoken::simt::Call::other);
}

// --- graphs ----------------------------------------------------------------------------------------------------------

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const cudaError_t error = foretoken::simt::meetUnrecorded(foretoken::simt::Call::other, stream);
  if (error == cudaSuccess) stream->recorded = std::make_unique<foretoken::simt::Work>();
  return error;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->recorded.release();
  return foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned) {
  const cudaError_t error = foretoken::simt::faults.meet(foretoken::simt::Call::allocate);
  if (error == cudaSuccess) *executable = new foretoken::simt::Work(*graph);
  return error;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return delete graph, foretoken::simt::faults.meet(foretoken::simt::Call::other);
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  const cudaError_t error = foretoken::simt::faults.meet(foretoken::simt::Call::launch);
  if (error == cudaSuccess)
    for (const auto& work : *executable) work();
  return error;
}
