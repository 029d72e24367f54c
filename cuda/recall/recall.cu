// The kernels of recall, in the library.
#include "cuda/recall/recall.cuh"

namespace foretoken::cuda {

[[gnu::used]] static const void* const kRecallKernels[] = {reinterpret_cast<const void*>(project),
                                                           reinterpret_cast<const void*>(nearest),
                                                           reinterpret_cast<const void*>(vote)};

}  // namespace foretoken::cuda
