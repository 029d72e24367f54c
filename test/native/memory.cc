// What a cgroup's files leave to allocate.
#include "common/memory.h"

#include <cstdint>
#include <sstream>
#include <string>

#include "check.h"

namespace {

using namespace foretoken;

size_t left(const std::string& limit, const std::string& usage, const std::string& stat) {
  std::istringstream limitFile(limit), usageFile(usage), statFile(stat);
  return leftInCgroup(limitFile, usageFile, statFile);
}

void testVersionTwo() {
  CHECK(left("1000\n", "400\n", "anon 150\nfile 250\ninactive_anon 7\nactive_file 50\ninactive_file 200\n") == 800);
  CHECK(left("1000\n", "400\n", "") == 600);
  CHECK(left("max\n", "400\n", "inactive_file 200\n") == SIZE_MAX);
}

void testVersionOne() {
  CHECK(left("1000", "900", "cache 5\ninactive_file 10\ntotal_cache 5\ntotal_inactive_file 300\n") == 400);
  CHECK(left("9223372036854771712", "900", "total_inactive_file 300\n") == 9223372036854771712u - 600);
}

void testOddFiles() {
  CHECK(left("", "", "") == SIZE_MAX);
  CHECK(left("1000", "", "inactive_file 1") == SIZE_MAX);
  CHECK(left("1000", "100", "inactive_file 500") == 1000);       // counters are not read at one instant
  CHECK(left("1000", "1500", "inactive_file 100") == 0);         // a limit that was lowered later
  CHECK(left("1000", "400", "anon x\ninactive_file 9") == 600);  // unreadable: nothing is taken off
}

}  // namespace

int main() {
  testVersionTwo();
  testVersionOne();
  testOddFiles();
  CHECK(availableMemory() > 0);
  return test::finish("memory");
}
