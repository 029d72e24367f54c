// Training compiled for this file's instruction set.
#define FORETOKEN_VECTOR_AVX2
#include "train/kernels-inl.h"

namespace foretoken::train {
const TrainKernels kTrainAvx2 = kTable;
}  // namespace foretoken::train
