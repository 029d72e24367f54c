#include "bench/gpu/sanitize.h"

#include "bench/gpu/trials.h"

namespace foretoken::bench {

void sanitize() {
  for (const Trial& trial : trials())
    if (trial.unit == cuda::MatrixUnit::none || trial.unit == cuda::currentUnit()) trial.run();
}

}  // namespace foretoken::bench
