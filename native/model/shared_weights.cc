#include "model/shared_weights.h"

#include <map>
#include <mutex>
#include <utility>

namespace foretoken {

std::shared_ptr<const Memory> sharedWeights(const std::string& key, const std::function<Memory()>& make) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Memory>> all;
  const auto held = [&]() -> std::shared_ptr<const Memory> {
    const auto found = all.find(key);
    return found == all.end() ? nullptr : found->second.lock();
  };
  {
    const std::lock_guard lock(mutex);
    if (auto memory = held()) return memory;
  }
  auto made = std::make_shared<const Memory>(make());
  const std::lock_guard lock(mutex);
  if (auto memory = held()) return memory;
  std::erase_if(all, [](const auto& entry) { return entry.second.expired(); });
  all[key] = made;
  return made;
}

}  // namespace foretoken
