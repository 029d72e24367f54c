// Conversions between block types: for file types that no kernel computes in (K-quants), and for stacked matrices whose
// parts have different types.
#pragma once
#include <cstdint>

#include "quant/format.h"

namespace foretoken {

/// The type that a file type is computed in when its bits are to be kept as far as they can. Q4_K -> Q4_1 keeps every
/// 4-bit code and rounds only a group's scale and minimum to f16; Q5_K and Q6_K -> Q8_0, whose steps are several times
/// finer than theirs. e4m3 -> bf16, exactly. Other types are computed in as they are.
FileType computedType(FileType);

/// The type that a stack of both is computed in: of two block types the one with more bits, F32 as soon as a float type
/// meets another type.
FileType widerType(FileType, FileType);

/// Converts `count` weights, whole blocks of both types, to `to` = q8_0, q4_1 or q4_0. Q4_0 converts exactly to the
/// other two.
void convertBlocks(FileType from, const void* in, FileType to, uint8_t* out, int64_t count);

}  // namespace foretoken
