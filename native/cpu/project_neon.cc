// Projection compiled for this file's instruction set.
#define FORETOKEN_VECTOR_NEON
#include "cpu/project-inl.h"

namespace foretoken {
const ProjectRow kProjectNeon = project;
}  // namespace foretoken
