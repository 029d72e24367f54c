// What of the machine this process may use.
#pragma once
#include <filesystem>

namespace foretoken {

/// Logical CPUs in this process's affinity mask.
int allowedCpus();

/// CPUs that the quotas of the cgroup this process is in, and of those above it, amount to; infinity if there is none.
/// `root` holds proc and sys.
double cpuQuota(const std::filesystem::path& root = "/");

/// Threads worth starting: physical cores in the affinity mask, at most cpuQuota(), at least 1.
int defaultThreads();

}  // namespace foretoken
