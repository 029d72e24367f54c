// Where the committed test data lies. Native tests run in the root of the repository.
#pragma once
#include <filesystem>
#include <string>

namespace foretoken::test {

/// Path of a file below test/fixtures.
inline std::string fixture(const std::string& name) { return "test/fixtures/" + name; }

/// Seeds of a fuzz target.
inline std::filesystem::path fuzzCorpus(const std::string& target) { return "test/fuzz/corpus/" + target; }

}  // namespace foretoken::test
