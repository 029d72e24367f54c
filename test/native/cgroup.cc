// Limits of the cgroup a process is in, and of those above it, read from a tree of files like the system's.
#include "common/cgroup.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "check.h"
#include "common/memory.h"
#include "cpu/topology.h"

namespace {

using namespace foretoken;
namespace fs = std::filesystem;

/// What stands for "/": gone with the test that made it.
struct Root {
  fs::path path;

  explicit Root(const std::string& cgroup) {
    std::string name = (fs::temp_directory_path() / "foretoken-cgroup-XXXXXX").string();
    path = mkdtemp(name.data());
    write("proc/self/cgroup", cgroup);
  }
  ~Root() { fs::remove_all(path); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((path / file).parent_path());
    std::ofstream(path / file) << text;
  }
  /// A file below the mount.
  void limit(const std::string& file, const std::string& text) const { write("sys/fs/cgroup/" + file, text); }
  size_t memory() const { return availableMemory(path); }
  double cpus() const { return cpuQuota(path); }
};

void testTheLeastOnTheWayUpHolds() {
  const Root root("0::/a/b\n");
  root.limit("a/b/memory.max", "1000\n");
  root.limit("a/b/memory.current", "100\n");
  root.limit("a/memory.max", "500\n");
  root.limit("a/memory.current", "300\n");
  root.limit("a/memory.stat", "anon 200\ninactive_file 50\n");
  CHECK(root.memory() == 250);
  root.limit("a/b/memory.max", "120\n");
  CHECK(root.memory() == 20);
  root.limit("memory.max", "310\n");
  root.limit("memory.current", "300\n");
  CHECK(root.memory() == 10);
  root.write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable: 0 kB\n");
  CHECK(root.memory() == 0);

  root.limit("a/b/cpu.max", "400000 100000\n");
  CHECK(root.cpus() == 4);
  root.limit("a/cpu.max", "150000 100000\n");
  CHECK(root.cpus() == 1.5);
  root.limit("a/b/cpu.max", "50000 100000\n");
  CHECK(root.cpus() == 0.5);
}

void testVersionOne() {
  const Root root("9:name=systemd:/other\n4:memory:/slurm/job\n3:cpuset:/other\n1:cpu,cpuacct:/a/b\n0::/\n");
  root.limit("memory/slurm/job/memory.limit_in_bytes", "9223372036854771712\n");
  root.limit("memory/slurm/job/memory.usage_in_bytes", "0\n");
  root.limit("memory/slurm/memory.limit_in_bytes", "500\n");
  root.limit("memory/slurm/memory.usage_in_bytes", "300\n");
  root.limit("memory/slurm/memory.stat", "inactive_file 1\ntotal_inactive_file 50\n");
  CHECK(root.memory() == 250);

  root.limit("cpu/a/b/cpu.cfs_quota_us", "-1\n");
  root.limit("cpu/a/b/cpu.cfs_period_us", "100000\n");
  root.limit("cpu/a/cpu.cfs_quota_us", "250000\n");
  CHECK(root.cpus() == INFINITY);
  root.limit("cpu/a/cpu.cfs_period_us", "100000\n");
  CHECK(root.cpus() == 2.5);
}

void testNoLimit() {
  const Root root("0::/a\n");
  CHECK(root.memory() == SIZE_MAX && root.cpus() == INFINITY);
  root.limit("a/memory.max", "max\n");
  root.limit("a/memory.current", "300\n");
  root.limit("a/cpu.max", "max 100000\n");
  CHECK(root.memory() == SIZE_MAX && root.cpus() == INFINITY);
  root.limit("a/cpu.max", "150000\n");
  CHECK(root.cpus() == INFINITY);
  fs::remove_all(root.path / "proc");
  CHECK(root.memory() == SIZE_MAX && root.cpus() == INFINITY);
}

/// A container that sees its own part of the tree only: at the mount, whatever path it is told.
void testTheMountAlone() {
  for (const char* cgroup : {"0::/\n", "0::/../other\n", "0::/docker/0123\n", "0::\n", "0", "", "4:memory:/a\n"}) {
    const Root root(cgroup);
    root.limit("memory.max", "500\n");
    root.limit("memory.current", "300\n");
    root.limit("cpu.max", "150000 100000\n");
    root.write("sys/fs/other/memory.max", "1\n");
    root.write("sys/fs/other/memory.current", "0\n");
    root.write("sys/fs/other/cpu.max", "1 100000\n");
    CHECK(root.memory() == 200);
    CHECK(root.cpus() == 1.5);
  }
  const Root root("2:memory:/a/../../../other\n1:cpu:/\n");
  root.limit("memory/memory.limit_in_bytes", "500\n");
  root.limit("memory/memory.usage_in_bytes", "300\n");
  root.limit("memory/a/memory.limit_in_bytes", "1\n");
  root.limit("memory/a/memory.usage_in_bytes", "0\n");
  root.limit("cpu/cpu.cfs_quota_us", "150000\n");
  root.limit("cpu/cpu.cfs_period_us", "100000\n");
  CHECK(root.memory() == 200);
  CHECK(root.cpus() == 1.5);
}

void testFolders() {
  const Root root("4:memory:/with:colon\n3:cpu:/cpu\n0::/a/b\n");
  const fs::path mount = root.path / "sys/fs/cgroup";
  CHECK((cgroupFolders("", root.path) == std::vector<fs::path>{mount / "", mount / "a", mount / "a/b"}));
  CHECK((cgroupFolders("memory", root.path) == std::vector<fs::path>{mount / "memory", mount / "memory/with:colon"}));
}

}  // namespace

int main() {
  testTheLeastOnTheWayUpHolds();
  testVersionOne();
  testNoLimit();
  testTheMountAlone();
  testFolders();
  return test::finish("cgroup");
}
