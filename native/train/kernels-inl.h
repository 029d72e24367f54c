// The table of this file's instruction set. Included by one file per instruction set, which defines the vector type
// first.
#pragma once
#include "train/attention-inl.h"
#include "train/gemm-inl.h"
#include "train/rows-inl.h"
#include "train/update-inl.h"

namespace foretoken::train {
namespace {

constexpr TrainKernels kTable = {.tileRows = kTileRows,
                                 .tileColumns = kTileColumns,
                                 .bytesPerPair = sizeof(Pair),
                                 .pack = pack,
                                 .multiplyTile = multiplyTile,
                                 .norm = norm,
                                 .normBackward = normBackward,
                                 .addNormScale = addNormScale,
                                 .swiglu = swiglu,
                                 .swigluBackward = swigluBackward,
                                 .rotate = rotate,
                                 .dot = dot,
                                 .listedLoss = listedLoss,
                                 .denseLoss = denseLoss,
                                 .attend = attend,
                                 .attendBackward = attendBackward,
                                 .adamw = adamw,
                                 .sgd = sgd,
                                 .squares = squares};

}  // namespace
}  // namespace foretoken::train
