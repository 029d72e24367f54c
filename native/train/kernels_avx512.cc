// Training compiled for this file's instruction set.
#define FORETOKEN_VECTOR_AVX512
#include "train/kernels-inl.h"

namespace foretoken::train {
const TrainKernels kTrainAvx512 = kTable;
}  // namespace foretoken::train
