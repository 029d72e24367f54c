// Page pool and prefix cache: ownership, sharing, eviction order, tenants; then random work against a simple model of
// it.
#include "kv/pages.h"

#include <map>
#include <set>

#include "backend.h"
#include "check.h"

namespace foretoken {
namespace {

std::vector<int32_t> text(int length, int salt) {
  std::vector<int32_t> tokens(length);
  for (int i = 0; i < length; ++i) tokens[i] = salt * 1000 + i;
  return tokens;
}

void takesAndReleases() {
  PagePool pool(5, 3);
  std::set<int32_t> pages = {pool.take(), pool.take(), pool.take()};
  CHECK((pages == std::set<int32_t>{5, 6, 7}));
  CHECK(pool.take() == -1);
  CHECK(pool.used() == 3 && pool.available() == 0);
  pool.release(6);
  CHECK(pool.used() == 2 && pool.take() == 6);
}

void sharesPrefixesWithinATenant() {
  PagePool pool(0, 16);
  const auto tokens = text(50, 1);
  PageTable first(64);
  CHECK(first.adoptPrefix(pool, 0, tokens, 49) == 0);
  CHECK(first.reserve(pool, 50));
  first.enroll(pool, 0, tokens, 50);  // three full pages
  PageTable second(64), stranger(64);
  CHECK(second.adoptPrefix(pool, 0, tokens, 49) == 48);
  CHECK(second.slot(0) == first.slot(0) && second.slot(47) == first.slot(47));
  CHECK(stranger.adoptPrefix(pool, 1, tokens, 49) == 0);
  CHECK(second.reserve(pool, 50) && second.slot(48) != first.slot(48));
  CHECK(pool.used() == 5);
  first.clear(pool);
  CHECK(pool.used() == 4 && pool.cached() == 0);
  second.clear(pool);
  CHECK(pool.used() == 0 && pool.cached() == 3);
}

/// A prompt that is cached whole still has its last token computed: its logits are wanted.
void leavesTheLastTokenToCompute() {
  PagePool pool(0, 8);
  const auto tokens = text(32, 1);
  PageTable table(64), again(64);
  CHECK(table.reserve(pool, 32));
  table.enroll(pool, 0, tokens, 32);
  CHECK(again.adoptPrefix(pool, 0, tokens, 31) == 16);
}

void matchesTokensNotHashes() {
  PagePool pool(0, 8);
  auto tokens = text(32, 1);
  PageTable table(64);
  CHECK(table.reserve(pool, 32));
  table.enroll(pool, 0, tokens, 32);
  tokens[3] = 7;  // another first page: the second must not match below it, though its tokens are the same
  PageTable other(64);
  CHECK(other.adoptPrefix(pool, 0, tokens, 32) == 0);
  CHECK(pool.match(0, 0, tokens.data() + 16).page == -1);
}

void mergesEqualPages() {
  PagePool pool(0, 8);
  const auto tokens = text(32, 1);
  PageTable a(64), b(64);
  CHECK(a.reserve(pool, 32) && b.reserve(pool, 32));
  a.enroll(pool, 0, tokens, 32);
  CHECK(pool.used() == 4);
  b.enroll(pool, 0, tokens, 32);
  CHECK(pool.used() == 2 && a.slot(20) == b.slot(20));
  a.clear(pool);
  b.clear(pool);
  CHECK(pool.used() == 0 && pool.cached() == 2);
}

void evictsOldestChainsFromTheirEnd() {
  PagePool pool(0, 6);
  const auto old = text(48, 1), recent = text(48, 2);
  for (const auto* tokens : {&old, &recent}) {
    PageTable table(64);
    CHECK(table.reserve(pool, 48));
    table.enroll(pool, 0, *tokens, 48);
    table.clear(pool);
  }
  CHECK(pool.cached() == 6);
  CHECK(pool.take() >= 0);
  PageTable table(64);
  CHECK(table.adoptPrefix(pool, 0, old, 48) == 32);  // its last page is gone, its beginning is there
  table.clear(pool);
  CHECK(table.adoptPrefix(pool, 0, recent, 48) == 48);
}

void forgetsATenant() {
  PagePool pool(0, 8);
  const auto tokens = text(32, 1);
  PageTable kept(64), lost(64), probe(64);
  CHECK(kept.reserve(pool, 32) && lost.reserve(pool, 32));
  kept.enroll(pool, 0, tokens, 32);
  lost.enroll(pool, 1, tokens, 32);
  lost.clear(pool);
  pool.forget(1);
  CHECK(pool.cached() == 0);
  CHECK(probe.adoptPrefix(pool, 1, tokens, 32) == 0);
  CHECK(probe.adoptPrefix(pool, 0, tokens, 32) == 32);
  probe.clear(pool);
  pool.forget(-1);  // in use by `kept`: stays with it, but nobody else finds it
  CHECK(probe.adoptPrefix(pool, 0, tokens, 32) == 0);
  kept.clear(pool);
  CHECK(pool.used() == 0 && pool.cached() == 0 && pool.available() == 8);
}

void rollsBack() {
  PagePool pool(0, 8);
  PageTable table(128);
  CHECK(table.reserve(pool, 100) && table.size() == 7);
  table.rollBack(pool, 33);
  CHECK(table.size() == 3 && table.room() == 48 && pool.used() == 3);
  CHECK(!table.reserve(pool, 129));
  CHECK(table.size() == 8);  // keeps what it could get
}

/// What is in a page is written down outside; every hit must find exactly the tokens of its chain.
void randomWork() {
  constexpr int kPages = 24, kLength = 96;
  uint64_t state = 42;
  const auto random = [&](int bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((state >> 33) % static_cast<uint64_t>(bound));
  };
  PagePool pool(3, kPages);
  std::map<int32_t, std::vector<int32_t>> written;  // page -> tenant, then all tokens up to its end
  struct Running {
    int32_t tenant;
    std::vector<int32_t> tokens;
    PageTable table{kLength};
  };
  std::vector<std::unique_ptr<Running>> running;
  int64_t hits = 0;
  for (int step = 0; step < 20000; ++step) {
    if (random(2) == 0 && running.size() < 5) {
      auto one = std::make_unique<Running>();
      one->tenant = random(2);
      for (int i = 0, n = 1 + random(kLength); i < n; ++i) one->tokens.push_back(i < 40 ? random(40) / 39 : random(3));
      const int found =
          one->table.adoptPrefix(pool, one->tenant, one->tokens, static_cast<int>(one->tokens.size()) - 1);
      hits += found;
      for (int page = 0; page < found / kPageSize; ++page) {
        std::vector<int32_t> chain(one->tokens.begin(), one->tokens.begin() + (page + 1) * kPageSize);
        chain.insert(chain.begin(), one->tenant);
        CHECK(written.at(one->table.pages()[page]) == chain);
      }
      if (!one->table.reserve(pool, static_cast<int>(one->tokens.size()))) {
        one->table.clear(pool);
        continue;
      }
      for (int page = found / kPageSize; page < one->table.size(); ++page) {
        std::vector<int32_t> chain(one->tokens.begin(),
                                   one->tokens.begin() + std::min<size_t>((page + 1) * kPageSize, one->tokens.size()));
        chain.insert(chain.begin(), one->tenant);
        written[one->table.pages()[page]] = chain;
      }
      running.push_back(std::move(one));
    } else if (!running.empty()) {
      const int which = random(static_cast<int>(running.size()));
      Running& one = *running[which];
      if (random(3) > 0) one.table.enroll(pool, one.tenant, one.tokens, static_cast<int>(one.tokens.size()));
      one.table.clear(pool);
      running.erase(running.begin() + which);
    }
    if (random(500) == 0) pool.forget(random(3) - 1);
    CHECK(pool.used() + pool.cached() <= kPages && pool.used() >= 0 && pool.cached() >= 0);
  }
  CHECK(hits > 10000);
  for (auto& one : running) one->table.clear(pool);
  CHECK(pool.used() == 0);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  takesAndReleases();
  sharesPrefixesWithinATenant();
  leavesTheLastTokenToCompute();
  matchesTokensNotHashes();
  mergesEqualPages();
  evictsOldestChainsFromTheirEnd();
  forgetsATenant();
  rollsBack();
  randomWork();
  return test::finish("pages");
}
