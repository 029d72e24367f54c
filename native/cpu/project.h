// Keys of hidden states, see KeyProjection.
#pragma once
#include <cstdint>

#include "backend.h"
#include "cpu/isa.h"

namespace foretoken {

/// Makes the key [kKeyWidth] of one hidden state [width].
using ProjectRow = void (*)(const float* hidden, int64_t width, const KeyProjection&, int8_t* key);
extern const ProjectRow kProjectPortable, kProjectNeon, kProjectAvx2, kProjectAvx512;
ProjectRow projectRow(Isa isa);

}  // namespace foretoken
