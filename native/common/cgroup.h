// Where the limits of this process's control groups may be written.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace foretoken {

/// The mount of a hierarchy of cgroups and, below it, every folder down to the one this process is in: a limit in any
/// of them holds. `controller` names a hierarchy of version 1, e.g. "memory"; "" is version 2. `root` holds proc and
/// sys. Folders need not exist: a container may mount its own part only, and still be told the host's path.
std::vector<std::filesystem::path> cgroupFolders(const std::string& controller, const std::filesystem::path& root);

}  // namespace foretoken
