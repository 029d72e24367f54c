#pragma once

namespace foretoken::bench {

/// Every trial once, for compute-sanitizer to watch.
void sanitize();

}  // namespace foretoken::bench
