// What host code holds of a device: memory, memory of the host that kernels see, a stream, and recorded launches.
#pragma once
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "common/error.h"
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

/// Throws OUT_OF_MEMORY where the device lacks some, CUDA_ERROR unless all is well; `during` completes "CUDA failed
/// while ...".
inline void require(cudaError_t error, const char* during) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // takes it back
    throw Error("OUT_OF_MEMORY", std::string("the device has no memory left for ") + during +
                                     "; close another engine on it, or load with a smaller kvBytes or contextLength");
  }
  throw Error("CUDA_ERROR", std::string("CUDA failed while ") + during + ": " + cudaGetErrorName(error) + ", " +
                                cudaGetErrorString(error) +
                                "; where the next request fails as well, this process has lost the device: start it "
                                "anew");
}

/// Bytes of the present device that nobody has taken.
inline size_t deviceMemoryLeft() {
  size_t left = 0, all = 0;
  require(cudaMemGetInfo(&left, &all), "asking for memory");
  return left;
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
  /// Throws OUT_OF_MEMORY, and CUDA_ERROR where that is not what stands in the way.
  explicit MemoryOf(size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    void* data = nullptr;
    const cudaError_t error = place == Place::device
                                  ? cudaMalloc(&data, bytes)
                                  : cudaHostAlloc(&data, bytes, cudaHostAllocMapped | cudaHostAllocPortable);
    const size_t mebibytes = ceilDiv<size_t>(bytes, 1 << 20);
    require(error, ((place == Place::device ? "taking " : "pinning ") + std::to_string(mebibytes) + " MiB").c_str());
    data_ = static_cast<uint8_t*>(data);
    if (place == Place::pinned) std::memset(data_, 0, bytes);
  }
  MemoryOf(MemoryOf&& other) noexcept { swap(other); }
  MemoryOf& operator=(MemoryOf&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MemoryOf() {
    if (place == Place::device)
      cudaFree(data_);
    else
      cudaFreeHost(data_);
  }

  uint8_t* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const { return bytes_; }
  /// Other memory in its place. What there is goes first, for there may be no room for both: where there is none for
  /// the new either, nothing is left.
  void renew(size_t bytes) {
    *this = {};
    *this = MemoryOf(bytes);
  }

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
  /// Waits where nobody is left to be told of an error.
  void drain() noexcept { cudaStreamSynchronize(stream_); }
  /// How often the host has waited.
  int64_t synchronised() const { return synchronised_; }

 private:
  cudaStream_t stream_ = nullptr;
  int64_t synchronised_ = 0;
};

/// Copies from any memory of the host; done when it returns.
inline void copyToDevice(void* to, const void* from, size_t bytes) {
  require(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the device");
  // Few bytes of pageable memory may still be on their way, and other streams don't wait for them.
  require(cudaStreamSynchronize(nullptr), "copying to the device");
}

/// A point in a stream that the host can wait for.
class Event {
 public:
  Event() { require(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event"); }
  Event(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(Stream& stream) { require(cudaEventRecord(event_, stream.get()), "recording an event"); }
  /// Until the stream has come there; at once if it was never recorded.
  void wait() { require(cudaEventSynchronize(event_), "waiting for the device"); }

 private:
  cudaEvent_t event_ = nullptr;
};

/// A point in a stream, and when it was.
class Moment {
 public:
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
};

/// Launches that are recorded once and repeated as one.
class Graph {
 public:
  /// Records what `launches` issues on `stream`; it is not carried out.
  Graph(Stream& stream, std::function<void()> launches) {
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
  }
  Graph(const Graph&) = delete;
  ~Graph() { cudaGraphExecDestroy(executable_); }
  void launch(Stream& stream) { require(cudaGraphLaunch(executable_, stream.get()), "launching a graph"); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// Multiprocessors of the current device: how many blocks keep it busy.
inline int multiprocessors() {
  int device = 0, count = 0;
  require(cudaGetDevice(&device), "asking for the device");
  require(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "asking for the device's size");
  return count;
}

/// Makes `device` the one that this thread's calls go to.
inline void useDevice(int device) { require(cudaSetDevice(device), "choosing a device"); }

}  // namespace foretoken::cuda
