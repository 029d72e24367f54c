#include "cpu/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace foretoken {
namespace {

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

/// CPUs that the cgroup's bandwidth limit amounts to; infinity if there is none. Version 2 first, then version 1.
double quota() {
  std::string limit;
  double period = 0;
  std::ifstream two("/sys/fs/cgroup/cpu.max");
  if (two >> limit >> period && limit != "max" && period > 0) return std::stod(limit) / period;
  double microseconds = 0;
  std::ifstream quotaFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), periodFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quotaFile >> microseconds && periodFile >> period && microseconds > 0 && period > 0) return microseconds / period;
  return INFINITY;
}

}  // namespace

int allowedCpus() { return static_cast<int>(affinity().size()); }

int defaultThreads() {
  const int cores = coresOf(affinity());
  return std::max(1, static_cast<int>(std::min<double>(cores, std::ceil(quota()))));
}

}  // namespace foretoken
