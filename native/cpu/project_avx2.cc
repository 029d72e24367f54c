// Projection compiled for this file's instruction set.
#define FORETOKEN_VECTOR_AVX2
#include "cpu/project-inl.h"

namespace foretoken {
const ProjectRow kProjectAvx2 = project;
}  // namespace foretoken
