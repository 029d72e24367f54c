// The kernels of a draft head's tree, in the library.
#include "cuda/head/tree.cuh"

namespace foretoken::cuda {

[[gnu::used]] static const void* const kHeadKernels[] = {reinterpret_cast<const void*>(findChildren),
                                                         reinterpret_cast<const void*>(growTree)};

}  // namespace foretoken::cuda
