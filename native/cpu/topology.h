// What of the machine this process may use.
#pragma once

namespace foretoken {

/// Logical CPUs in this process's affinity mask.
int allowedCpus();

/// Threads worth starting: physical cores in the affinity mask, at most what a cgroup's CPU quota grants, at least 1.
int defaultThreads();

}  // namespace foretoken
