// Projection compiled for this file's instruction set.
#include "cpu/project-inl.h"

namespace foretoken {
const ProjectRow kProjectPortable = project;
}  // namespace foretoken
