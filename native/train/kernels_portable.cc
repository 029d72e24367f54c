// Training compiled for this file's instruction set.
#include "train/kernels-inl.h"

namespace foretoken::train {
const TrainKernels kTrainPortable = kTable;
}  // namespace foretoken::train
