# Errors that end more than they should, or less.
mutant(failures backend-throws-as-it-goes cuda/backend/cuda_backend.cu [[CudaBackend::~CudaBackend() { stream_.drain(); }]]
  [[CudaBackend::~CudaBackend() { stream_.synchronise(); }]])
mutant(failures upload-half-grown cuda/backend/uploads.cuh [[    std::array<PinnedMemory, kTurns> staging;
    for]] [[    device_ = DeviceMemory(enough);
    std::array<PinnedMemory, kTurns> staging;
    for]])
mutant(failures lost-device-for-lack-of-memory cuda/common/memory.cuh [[  if (error == cudaErrorMemoryAllocation) {]]
  [[  if (error != cudaErrorNotSupported) {]])
