// Projection compiled for this file's instruction set.
#define FORETOKEN_VECTOR_AVX512
#include "cpu/project-inl.h"

namespace foretoken {
const ProjectRow kProjectAvx512 = project;
}  // namespace foretoken
