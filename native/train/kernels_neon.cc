// Training compiled for this file's instruction set.
#define FORETOKEN_VECTOR_NEON
#include "train/kernels-inl.h"

namespace foretoken::train {
const TrainKernels kTrainNeon = kTable;
}  // namespace foretoken::train
