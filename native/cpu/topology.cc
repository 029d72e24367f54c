#include "cpu/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/cgroup.h"

namespace foretoken {
namespace {

namespace fs = std::filesystem;

std::vector<int> affinity() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  if (cpus.empty())
    for (int cpu = 0; cpu < std::max(1, static_cast<int>(std::thread::hardware_concurrency())); ++cpu)
      cpus.push_back(cpu);
  return cpus;
}

/// Distinct cores behind `cpus`: hyper-threads of one core share its list of siblings.
int coresOf(const std::vector<int>& cpus) {
  std::set<std::string> cores;
  for (int cpu : cpus) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = "cpu" + std::to_string(cpu);
    cores.insert(siblings);
  }
  return static_cast<int>(cores.size());
}

/// CPUs that a limit of `quota` in every `period` microseconds amounts to; infinity if there is none ("max", -1).
double cpusIn(std::istream& quota, std::istream& period) {
  double most, of;
  return quota >> most && period >> of && most > 0 && of > 0 ? most / of : INFINITY;
}

}  // namespace

double cpuQuota(const fs::path& root) {
  double least = INFINITY;
  for (const fs::path& folder : cgroupFolders("", root)) {
    std::ifstream both(folder / "cpu.max");
    least = std::min(least, cpusIn(both, both));
  }
  for (const fs::path& folder : cgroupFolders("cpu", root)) {
    std::ifstream quota(folder / "cpu.cfs_quota_us"), period(folder / "cpu.cfs_period_us");
    least = std::min(least, cpusIn(quota, period));
  }
  return least;
}

int allowedCpus() { return static_cast<int>(affinity().size()); }

int defaultThreads() {
  const int cores = coresOf(affinity());
  return std::max(1, static_cast<int>(std::min<double>(cores, std::ceil(cpuQuota()))));
}

}  // namespace foretoken
