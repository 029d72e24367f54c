#pragma once

namespace foretoken::bench {

/// Every kernel of a step on small, odd shapes, for compute-sanitizer to watch.
void sanitize();

}  // namespace foretoken::bench
