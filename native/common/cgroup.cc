#include "common/cgroup.h"

#include <algorithm>
#include <fstream>

namespace foretoken {
namespace {

namespace fs = std::filesystem;

/// The path that a line `id:controllers:/path` gives; empty if there is none, or if it leads out of this namespace.
fs::path pathOf(const std::string& controller, std::istream& lines) {
  std::string id, controllers, path;
  while (std::getline(lines, id, ':') && std::getline(lines, controllers, ':') && std::getline(lines, path)) {
    if (("," + controllers + ",").find("," + controller + ",") == std::string::npos) continue;
    const fs::path below = fs::path(path).relative_path();
    return std::find(below.begin(), below.end(), "..") == below.end() ? below : fs::path();
  }
  return {};
}

}  // namespace

std::vector<fs::path> cgroupFolders(const std::string& controller, const fs::path& root) {
  std::ifstream lines(root / "proc/self/cgroup");
  fs::path folder = root / "sys/fs/cgroup" / controller;
  std::vector<fs::path> folders{folder};
  for (const fs::path& name : pathOf(controller, lines)) folders.push_back(folder /= name);
  return folders;
}

}  // namespace foretoken
