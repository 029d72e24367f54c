# Errors that end more than they should, or less.
mutant(failures backend-throws-as-it-goes cuda/backend/cuda_backend.cu [[CudaBackend::~CudaBackend() { stream_.drain(); }]]
  [[CudaBackend::~CudaBackend() { stream_.synchronise(); }]])
mutant(failures upload-half-grown cuda/backend/uploads.cuh [[    device_ = {};
]] [[    device_.renew(enough);
]])
mutant(failures lost-device-for-lack-of-memory cuda/common/memory.cuh [[  if (error == cudaErrorMemoryAllocation) {]]
  [[  if (error != cudaErrorNotSupported) {]])
