mutant(step moves-out-of-order cuda/step/compact.cuh [[    for (int i = 0; i < a.count; ++i) {
      const int from = a.from[i], to = a.to[i];
      const auto *keys]] [[    for (int i = a.count - 1; i >= 0; --i) {
      const int from = a.from[i], to = a.to[i];
      const auto *keys]])
mutant(step gate-of-all-rows cuda/step/rows.cuh [[if (row >= PassView(pass).rows() || i >= width) return;
  const float2]] [[if (i >= width) return;
  const float2]])
mutant(step kept-from-next cuda/step/rows.cuh [[const auto* const from = reinterpret_cast<const uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset);]]
  [[const auto* const from = reinterpret_cast<const uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset) + 1;]])
