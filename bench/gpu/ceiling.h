#pragma once

namespace foretoken::bench {

/// Bytes/s of the fastest read-only kernel, beyond all caches.
double readCeiling();

}  // namespace foretoken::bench
