#include "cpu/project.h"

#include "cpu/cpu_backend.h"

namespace foretoken {
namespace {
constexpr int kSerialRows = 4;  ///< so few are done before other threads would have woken up
}

ProjectRow projectRow(Isa isa) {
#if defined(__x86_64__)
  if (isAvx512(isa)) return kProjectAvx512;
  if (isa == Isa::avx2) return kProjectAvx2;
#elif defined(__aarch64__)
  if (isa == Isa::neon) return kProjectNeon;
#endif
  (void)isa;
  return kProjectPortable;
}

void CpuBackend::project(const Pass& pass, const Tensor& in, const KeyProjection& projection) {
  const auto& hidden = static_cast<const CpuTensor&>(in);
  const ProjectRow row = projectRow(isa_);
  const auto rows = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      row(hidden.row(r), in.width(), projection, reinterpret_cast<int8_t*>(side(pass.slot[r])));
  };
  if (pass.rows <= kSerialRows) return rows(0, pass.rows);
  threads_.run(pass.rows, [&](int64_t begin, int64_t end, int) { rows(begin, end); });
}

}  // namespace foretoken
