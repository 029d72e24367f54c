// The KV pool: refusals before anything is mapped, places that do not overlap, copies of slots.
#include "cpu/kv.h"

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "common/error.h"
#include "engine/budget.h"

namespace {

using namespace foretoken;

std::string codeOf(const KvShape& shape) {
  try {
    KvPool pool(shape);
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

void testRefusals() {
  for (int headDim : {0, -64, 16, 31, 40, 72, 272, 512}) CHECK(codeOf({1, 1, headDim, 1, 0}) == "UNSUPPORTED_HEAD_DIM");
  for (int headDim = 32; headDim <= 256; headDim += 16) CHECK(codeOf({1, 1, headDim, 1, 0}) == "");
  CHECK(codeOf({32, 8, 128, 4000000, 0}) == "OUT_OF_MEMORY");
  CHECK(codeOf({1, 1, 64, 2000000000, 0}) == "OUT_OF_MEMORY");
  CHECK(codeOf({2000000000, 2000000000, 64, 100000000, 0}) == "OUT_OF_MEMORY");
  CHECK(codeOf({1, 1, 64, 1 << 26, 2000000000}) == "OUT_OF_MEMORY");
  CHECK(codeOf({1, 1, 64, 1, 0, KvFormat::fp8}) == "UNSUPPORTED_KV_FORMAT");
  CHECK(codeOf({0, 1, 64, 1, 0}) == "INVALID_ARGUMENT");
  CHECK(codeOf({1, 1, 64, 0, 0}) == "INVALID_ARGUMENT");
  CHECK(codeOf({1, 1, 64, 1, -1}) == "INVALID_ARGUMENT");
}

/// The elements of one slot in one layer and head, K then V.
std::vector<uint16_t*> elements(const KvPool& pool, int layer, int head, int slot) {
  const KvLayer kv = pool.layer(layer);
  std::vector<uint16_t*> all;
  for (int d = 0; d < kv.headDim; ++d)
    all.push_back(keyPage(kv, head, slot / kPageSize) + d / 2 * 2 * kPageSize + slot % kPageSize * 2 + d % 2);
  for (int d = 0; d < kv.valueStride; ++d) all.push_back(valueOf(kv, head, slot) + d);
  return all;
}

void testPlacesAreDisjoint(const KvShape& shape) {
  KvPool pool(shape);
  std::set<uint16_t*> seen;
  size_t count = 0;
  for (int layer = 0; layer < shape.layers; ++layer)
    for (int head = 0; head < shape.kvHeads; ++head)
      for (int slot = 0; slot < shape.pages * kPageSize; ++slot)
        for (uint16_t* place : elements(pool, layer, head, slot)) {
          CHECK(*place == 0);
          seen.insert(place);
          ++count;
        }
  CHECK(seen.size() == count);
  CHECK(count * sizeof(uint16_t) ==
        KvPool::bytes(shape) - static_cast<size_t>(shape.pages) * kPageSize * shape.sideBytes);
}

void fill(KvPool& pool, int slot, uint16_t value) {
  for (int layer = 0; layer < pool.shape().layers; ++layer)
    for (int head = 0; head < pool.shape().kvHeads; ++head) {
      uint16_t i = 0;
      for (uint16_t* place : elements(pool, layer, head, slot))
        *place = static_cast<uint16_t>(value * 1000 + layer * 300 + head * 100 + i++);
    }
  std::memset(pool.side(slot), value, pool.shape().sideBytes);
}

bool holds(KvPool& pool, int slot, uint16_t value) {
  for (int layer = 0; layer < pool.shape().layers; ++layer)
    for (int head = 0; head < pool.shape().kvHeads; ++head) {
      uint16_t i = 0;
      for (uint16_t* place : elements(pool, layer, head, slot))
        if (*place != static_cast<uint16_t>(value * 1000 + layer * 300 + head * 100 + i++)) return false;
    }
  for (int i = 0; i < pool.shape().sideBytes; ++i)
    if (pool.side(slot)[i] != value) return false;
  return true;
}

/// An engine takes as many pages as fit into what it was granted, whatever lies in them besides keys and values.
void testPagesOfAnEngine(int headDim) {
  ModelConfig config;
  config.layers = 3, config.kvHeads = 2, config.headDim = headDim, config.contextLength = 64;
  EngineOptions options;
  options.kvBytes = 8 << 20;
  options.sideBytes = 5;
  const KvBudget budget = kvBudget(options, config, *createCpuBackend({1, "portable"}));
  const KvShape shape = kvShape(options, config, budget.scratchPages + budget.sequencePages);
  KvShape more = shape;
  ++more.pages;
  CHECK(KvPool::bytes(shape) <= options.kvBytes && KvPool::bytes(more) > options.kvBytes);
}

/// A branch moving down by one, where targets are the next sources, and a scattered one; neighbours stay as they are.
void testCopies() {
  KvPool pool({3, 2, 48, 4, 5});
  const int slots = 4 * kPageSize;
  for (int slot = 0; slot < slots; ++slot) fill(pool, slot, static_cast<uint16_t>(slot));
  const std::vector<int32_t> from = {15, 16, 17, 40}, to = {14, 15, 16, 63};
  pool.copyLayers(from, to, 0, 1);
  pool.copyLayers(from, to, 1, 3);
  pool.copySides(from, to);
  for (int slot = 0; slot < slots; ++slot) {
    int expected = slot;
    for (size_t i = 0; i < from.size(); ++i)
      if (to[i] == slot) expected = from[i];
    CHECK(holds(pool, slot, static_cast<uint16_t>(expected)));
  }
}

}  // namespace

int main() {
  testRefusals();
  testPlacesAreDisjoint({2, 3, 64, 2, 8});
  testPlacesAreDisjoint({1, 2, 80, 2, 0});
  testCopies();
  for (const int headDim : {48, 64, 80}) testPagesOfAnEngine(headDim);
  return foretoken::test::finish("kv");
}
