/* The C interface of libforetoken_cuda.so: all that the addon looks up in it. Nothing here throws; every call that can
 * fail fills a status. The addon refuses a library whose foretoken_cuda_abi_version differs from its own. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define FORETOKEN_CUDA_ABI_VERSION 7

#ifdef __cplusplus
extern "C" {
#endif

/* code: 0, or the cudaError_t that stopped the call, -1 where it was something else; message: the same in words, empty
 * when code is 0; error: where an object was to be made, the stable code of the error that is to be told. */
typedef struct {
  int32_t code;
  char error[32];
  char message[256];
} foretoken_cuda_status;

typedef struct {
  char name[256];
  int32_t capability_major;
  int32_t capability_minor;
  uint64_t memory_bytes;
} foretoken_cuda_device;

/* FORETOKEN_CUDA_ABI_VERSION of the build. */
int32_t foretoken_cuda_abi_version(void);

/* CUDA versions as CUDA counts them (13000 is 13.0): of the library's own runtime, and the newest the driver speaks. */
void foretoken_cuda_versions(int32_t* runtime, int32_t* driver, foretoken_cuda_status* status);

/* How many devices can be used: 0 together with an error where there is no driver or no device. */
int32_t foretoken_cuda_device_count(foretoken_cuda_status* status);

void foretoken_cuda_describe(int32_t index, foretoken_cuda_device* device, foretoken_cuda_status* status);

/* y[i] += a * x[i] for i < count, host arrays in and out, computed on device `index`. */
void foretoken_cuda_axpy(int32_t index, float a, const float* x, float* y, size_t count, foretoken_cuda_status* status);

/* A foretoken::Backend (native/backend.h) on device `index`, with so many threads of the host to pack weights and
 * look drafts up; null where that fails. Whoever asks deletes it. An object of C++ crosses here: addon and library are
 * built together. */
void* foretoken_cuda_create_backend(int32_t index, int32_t threads, foretoken_cuda_status* status);

/* The same of a foretoken::learn::RowSteps (native/learn/row_steps.h), which works beside that backend. */
void* foretoken_cuda_create_row_steps(int32_t index, foretoken_cuda_status* status);

/* The same of a foretoken::learn::LayerSteps (native/learn/layer_steps.h) that begins with a LayerStart. */
void* foretoken_cuda_create_layer_steps(int32_t index, const void* start, foretoken_cuda_status* status);

#ifdef __cplusplus
}
#endif
