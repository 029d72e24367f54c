// From rows of a file to packed panels (layout.h). Integer-block formats keep the file's bits; everything else is
// converted.
#pragma once
#include <span>

#include "backend.h"
#include "cpu/thread_pool.h"

namespace foretoken {

/// Backend::pack. Throws UNSUPPORTED_CONVERSION when an integer-block format is asked of another file type, BAD_SHAPE
/// when sources do not fit together.
void packMatrix(ThreadPool&, Format, std::span<const MatrixSource>, bool interleave, uint8_t* out);

/// Expands one row of a packed matrix to fp32, exactly: code * scale (nvfp4: code * (scale * global)).
void unpackRow(Format, int64_t rows, int64_t cols, const uint8_t* packed, int64_t row, float* out);

}  // namespace foretoken
