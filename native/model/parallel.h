// Work of loading spread over threads that live only as long as it: hashing, converting, reading.
#pragma once
#include <cstddef>
#include <functional>

namespace foretoken {

/// Calls work(0) .. work(count - 1), in any order, on up to eight threads, the caller's among them; the calls must not
/// share what they write. The first exception thrown by one is rethrown when all have ended.
void parallelFor(size_t count, const std::function<void(size_t)>& work);

}  // namespace foretoken
