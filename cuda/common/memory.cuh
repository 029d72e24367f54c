// What host code holds of a device: memory, memory of the host that kernels see, a stream, and recorded launches. Under
// the executor device memory is plain memory, filled with what nobody would compute, and work is done when it is
// issued.
#pragma once
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "common/error.h"
#include "common/memory.h"
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

/// Throws CUDA_ERROR unless all is well; `during` completes "CUDA failed while ...".
inline void require(cudaError_t error, const char* during) {
  if (error == cudaSuccess) return;
#ifdef FORETOKEN_SIMT
  const std::string why = std::to_string(error);
#else
  const std::string why = std::string(cudaGetErrorName(error)) + ", " + cudaGetErrorString(error);
#endif
  throw Error("CUDA_ERROR", std::string("CUDA failed while ") + during + ": " + why);
}

/// Bytes of the present device that nobody has taken.
inline size_t deviceMemoryLeft() {
#ifdef FORETOKEN_SIMT
  return availableMemory();
#else
  size_t left = 0, all = 0;
  require(cudaMemGetInfo(&left, &all), "asking for memory");
  return left;
#endif
}

/// Where memory lies.
enum class Place : uint8_t {
  device,
  pinned,  ///< host memory that kernels read and write at the same address
};

/// Memory of one place. Movable, not copyable.
template <Place place>
class MemoryOf {
 public:
  MemoryOf() = default;
  /// Throws OUT_OF_MEMORY.
  explicit MemoryOf(size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
#ifdef FORETOKEN_SIMT
    constexpr size_t kAlignment = 256;
    data_ = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, roundUp(bytes, kAlignment)));
    const bool failed = data_ == nullptr;
    if (!failed) std::memset(data_, place == Place::device ? 0xff : 0, bytes);
#else
    void* data = nullptr;
    const bool failed = place == Place::device
                            ? cudaMalloc(&data, bytes) != cudaSuccess
                            : cudaHostAlloc(&data, bytes, cudaHostAllocMapped | cudaHostAllocPortable) != cudaSuccess;
    if (failed) cudaGetLastError();  // takes it back
    data_ = static_cast<uint8_t*>(data);
    if (!failed && place == Place::pinned) std::memset(data_, 0, bytes);
#endif
    if (failed)
      throw Error("OUT_OF_MEMORY", std::string(place == Place::device ? "the device" : "the host") +
                                       " has no room for another " + std::to_string(bytes >> 20) + " MiB");
  }
  MemoryOf(MemoryOf&& other) noexcept { swap(other); }
  MemoryOf& operator=(MemoryOf&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MemoryOf() {
#ifdef FORETOKEN_SIMT
    std::free(data_);
#else
    if (place == Place::device)
      cudaFree(data_);
    else
      cudaFreeHost(data_);
#endif
  }

  uint8_t* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const { return bytes_; }

 private:
  void swap(MemoryOf& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};
using DeviceMemory = MemoryOf<Place::device>;
using PinnedMemory = MemoryOf<Place::pinned>;

/// Work in order.
class Stream {
 public:
  /// Where there is work of both, blocks of streams of high priority begin first.
  enum class Priority : uint8_t { high, low };

#ifdef FORETOKEN_SIMT
  explicit Stream(Priority = Priority::high) {}
  Stream(const Stream&) = delete;
  cudaStream_t get() const { return nullptr; }
  void copyIn(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  void copyOut(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  void clear(void* to, size_t bytes) { std::memset(to, 0, bytes); }
  void synchronise() { ++synchronised_; }
#else
  explicit Stream(Priority priority = Priority::high) {
    int least = 0, greatest = 0;
    require(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for priorities");
    const int number = priority == Priority::high ? greatest : least;
    require(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, number), "creating a stream");
  }
  Stream(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }
  /// From pinned memory that stays as it is until the stream has come here; from other memory before it returns.
  void copyIn(void* to, const void* from, size_t bytes) {
    require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to the device");
  }
  void copyOut(void* to, const void* from, size_t bytes) {
    require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the device");
  }
  void clear(void* to, size_t bytes) { require(cudaMemsetAsync(to, 0, bytes, stream_), "clearing memory"); }
  void synchronise() {
    ++synchronised_;
    require(cudaStreamSynchronize(stream_), "waiting for the device");
  }
#endif
  /// How often the host has waited.
  int64_t synchronised() const { return synchronised_; }

 private:
#ifndef FORETOKEN_SIMT
  cudaStream_t stream_ = nullptr;
#endif
  int64_t synchronised_ = 0;
};

/// Copies from any memory of the host; done when it returns.
inline void copyToDevice(void* to, const void* from, size_t bytes) {
#ifdef FORETOKEN_SIMT
  std::memcpy(to, from, bytes);
#else
  require(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the device");
  // Few bytes of pageable memory may still be on their way, and other streams don't wait for them.
  require(cudaStreamSynchronize(nullptr), "copying to the device");
#endif
}

/// A point in a stream that the host can wait for.
class Event {
 public:
#ifdef FORETOKEN_SIMT
  void record(Stream&) {}
  void wait() {}
#else
  Event() { require(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event"); }
  Event(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(Stream& stream) { require(cudaEventRecord(event_, stream.get()), "recording an event"); }
  /// Until the stream has come there; at once if it was never recorded.
  void wait() { require(cudaEventSynchronize(event_), "waiting for the device"); }

 private:
  cudaEvent_t event_ = nullptr;
#endif
};

/// A point in a stream, and when it was. On the executor a block takes a microsecond, whatever it does.
class Moment {
 public:
#ifdef FORETOKEN_SIMT
  void record(Stream&) { blocks_ = simt::blocksRun; }
  double since(const Moment& earlier) const { return 1e-6 * static_cast<double>(blocks_ - earlier.blocks_); }

 private:
  uint64_t blocks_ = 0;
#else
  Moment() { require(cudaEventCreate(&event_), "creating an event"); }
  Moment(const Moment&) = delete;
  ~Moment() { cudaEventDestroy(event_); }
  void record(Stream& stream) { require(cudaEventRecord(event_, stream.get()), "recording an event"); }
  /// Seconds; both are in the past by now.
  double since(const Moment& earlier) const {
    float milliseconds = 0;
    require(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "asking for a time");
    return 1e-3 * milliseconds;
  }

 private:
  cudaEvent_t event_ = nullptr;
#endif
};

/// Launches that are recorded once and repeated as one.
class Graph {
 public:
  /// Records what `launches` issues on `stream`; it is not carried out.
  Graph(Stream& stream, std::function<void()> launches) {
#ifdef FORETOKEN_SIMT
    (void)stream;
    launches_ = std::move(launches);
#else
    require(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "recording a graph");
    cudaGraph_t graph = nullptr;
    try {
      launches();
    } catch (...) {
      cudaStreamEndCapture(stream.get(), &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    require(cudaStreamEndCapture(stream.get(), &graph), "recording a graph");
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    require(error, "making a graph ready");
#endif
  }
  Graph(const Graph&) = delete;
#ifdef FORETOKEN_SIMT
  void launch(Stream&) { launches_(); }

 private:
  std::function<void()> launches_;
#else
  ~Graph() { cudaGraphExecDestroy(executable_); }
  void launch(Stream& stream) { require(cudaGraphLaunch(executable_, stream.get()), "launching a graph"); }

 private:
  cudaGraphExec_t executable_ = nullptr;
#endif
};

/// Multiprocessors of the current device: how many blocks keep it busy.
inline int multiprocessors() {
#ifdef FORETOKEN_SIMT
  return 4;
#else
  int device = 0, count = 0;
  require(cudaGetDevice(&device), "asking for the device");
  require(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "asking for the device's size");
  return count;
#endif
}

/// Makes `device` the one that this thread's calls go to.
inline void useDevice(int device) {
#ifdef FORETOKEN_SIMT
  (void)device;
#else
  require(cudaSetDevice(device), "choosing a device");
#endif
}

}  // namespace foretoken::cuda
