// The block head against PyTorch (test/fixtures/train/make_block_head.py): loss, gradients of every parameter, drafts.
// Closely where products are not rounded to bf16, roughly on the real paths, which agree with each other bit for bit.
#define FORETOKEN_TRAIN_UNROUNDED
#include "train/kernels-inl.h"
// Before others include what it is made of.
#include <cstring>

#include "fixtures.h"
#include "format/safetensors.h"
#include "train/block_head.h"
#include "train_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using namespace foretoken::train;
using test::Floats;

/// The fixture's head, its batch and what PyTorch made of them.
struct Golden {
  static constexpr int64_t kWidth = 32, kFused = 2, kSlots = 3;
  std::unique_ptr<SafetensorsFile> file = SafetensorsFile::open(fixture("train/block_head.safetensors"));
  BlockHead head{{.width = kWidth,
                  .fused = kFused,
                  .layers = 2,
                  .inner = 48,
                  .heads = {4, 2, 16},
                  .vocabulary = 64,
                  .rank = 6,
                  .slots = kSlots,
                  .positions = 16,
                  .rotaryBase = 10000}};
  TargetTables target;
  BlockBatch batch;
  Floats state, rowWeight;

  Golden() {
    const Floats embedding = floats("embedding");
    static std::vector<uint16_t> table;
    table.clear();
    for (const float x : embedding) table.push_back(floatToBf16(x));
    target.embedding = table.data();
    target.draft = integers("draft");
    target.place.assign(embedding.size() / kWidth, static_cast<int32_t>(target.draft.size()));
    for (size_t i = 0; i < target.draft.size(); ++i) {
      target.place[target.draft[i]] = static_cast<int32_t>(i);
      const float* const row = embedding.data() + target.draft[i] * kWidth;
      target.output.insert(target.output.end(), row, row + kWidth);
    }
    for (int64_t l = 0; l < kFused; ++l) batch.features.push_back(floats("features." + std::to_string(l)));
    batch.position = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5};
    batch.firstRow = {0, 9, 15};
    batch.anchor = {0, 3, 4, 7, 10, 13};
    batch.firstAnchor = {0, 4, 6};
    batch.token = integers("given");
    state = floats("states"), rowWeight = floats("row_weights");
  }
  Floats floats(const std::string& name) const {
    const TensorInfo& tensor = *file->find(name);
    Floats values(tensor.elements());
    std::memcpy(values.data(), tensor.data, tensor.bytes);
    return values;
  }
  std::vector<int32_t> integers(const std::string& name) const {
    const Floats values = floats(name);
    return {values.begin(), values.end()};
  }
  /// Tensors of the fixture in the head's layout.
  Floats run(const std::string& prefix) const {
    Floats all(head.parameters().size());
    for (const Parameter& p : head.parameters().all()) {
      const Floats values = floats(prefix + "." + p.name);
      CHECK(static_cast<int64_t>(values.size()) == p.size());
      std::copy(values.begin(), values.end(), all.begin() + p.offset);
    }
    return all;
  }
  Labels labels() const { return {.state = state.data(), .output = target.output.data(), .width = kWidth}; }
};

/// Gradients, then the loss of every slot.
Floats trainOnce(Golden& golden, Ops& ops) {
  const Floats weights = golden.run("weight");
  Floats gradient(weights.size());
  const LayerPass pass{ops, weights.data(), gradient.data()};
  for (const RowLoss& loss :
       golden.head.train(pass, golden.target, golden.batch, golden.labels(), {}, golden.rowWeight.data()))
    gradient.push_back(loss.kl);
  return gradient;
}

/// Compares tensor by tensor, so that small gradients count as much as large ones.
void compare(const Golden& golden, const Floats& result, double close) {
  const Floats expected = golden.run("gradient");
  for (const Parameter& p : golden.head.parameters().all()) {
    const auto part = [&](const Floats& all) {
      return Floats(all.begin() + p.offset, all.begin() + p.offset + p.size());
    };
    double most = 0;
    for (const float x : part(expected)) most = std::max(most, std::abs(static_cast<double>(x)));
    CHECK(most > 1e-4);
    const bool same = difference(part(result), part(expected)) * std::max(most, 1e-3) / most < close;
    if (!same) std::printf("gradient of %s\n", p.name.c_str());
    CHECK(same);
  }
  CHECK(difference(Floats(result.begin() + golden.head.parameters().size(), result.end()), golden.floats("kl")) <
        close);
}

void testAgainstTorch() {
  Golden golden;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    Ops exact(pool, kTable);
    compare(golden, trainOnce(golden, exact), 1e-4);
  }
  checkSameBits([&](Ops& ops) {
    const Floats result = trainOnce(golden, ops);
    compare(golden, result, 0.06);
    return result;
  });
}

void testDraft() {
  Golden golden;
  const Floats weights = golden.run("weight");
  for (int64_t a = 0; a < golden.batch.anchors(); ++a)  // later tokens are not known when drafting
    for (int64_t s = 1; s < Golden::kSlots; ++s) golden.batch.token[a * Golden::kSlots + s] = 0;
  ThreadPool pool(2);
  Ops exact(pool, kTable);
  CHECK(golden.head.draft({exact, weights.data(), nullptr}, golden.target, golden.batch) == golden.integers("drafted"));
}

/// Logits that are no numbers propose some token of the draft vocabulary, also after one that has no place in it.
void testWalkOfNaN() {
  const Golden golden;
  const Floats weights = golden.run("weight");
  const auto vocabulary = static_cast<int32_t>(golden.head.shape().vocabulary);
  const Floats logits(Golden::kSlots * vocabulary, NAN);
  std::vector<int32_t> proposed(Golden::kSlots, -1);
  golden.head.walk(weights.data() + golden.head.before(), logits.data(), vocabulary, proposed.data());
  for (const int32_t p : proposed) CHECK(p >= 0 && p < vocabulary);
}

/// Steps along the gradient lower the loss.
void testLearns() {
  Golden golden;
  forEveryPath([&](Ops& ops) {
    Floats weights = golden.head.initial(1, 1);
    Optimiser optimiser(ops, golden.head.parameters(), golden.head.rules(), {});
    Floats first, last;
    for (int step = 0; step < 30; ++step) {
      Floats gradient(weights.size());
      const auto loss = golden.head.train({ops, weights.data(), gradient.data()}, golden.target, golden.batch,
                                          golden.labels(), {}, golden.rowWeight.data());
      Floats& kl = step == 0 ? first : last;
      kl.clear();
      for (const RowLoss& row : loss) kl.push_back(row.kl);
      optimiser.step(0.01f, gradient.data(), weights.data());
    }
    double before = 0, after = 0;
    for (size_t r = 0; r < first.size(); ++r)
      if (golden.rowWeight[r] > 0) before += first[r], after += last[r];
    CHECK(after < 0.5 * before);
  });
}

void testRefusals() {
  BlockHeadShape odd = Golden().head.shape();
  odd.inner = 40;
  CHECK(codeOf([&] { BlockHead head(odd); }) == "SHAPE_MISMATCH");
  CHECK(codeOf([&] { BlockHead::layoutOf(odd); }) == "SHAPE_MISMATCH");
  for (const int32_t token : {-1, 4, 16'000'000}) CHECK(codeOf([&] { placesOf({0, token}, 4); }) == "HEAD_MISMATCH");
}

/// A layout is the same whether something is computed with it or not.
void testLayout() {
  const BlockHead head(Golden().head.shape());
  const Parameters layout = BlockHead::layoutOf(head.shape());
  CHECK(layout.size() == head.parameters().size() && layout.all().size() == head.parameters().all().size());
  for (const Parameter& p : layout.all()) CHECK(head.parameters().find(p.name).offset == p.offset);
  CHECK(layout.find("before.weight").offset == head.before());
  CHECK(codeOf([&] { layout.find("nothing"); }) == "INTERNAL_ERROR");
}

}  // namespace

int main() {
  testAgainstTorch();
  testDraft();
  testWalkOfNaN();
  testLearns();
  testLayout();
  testRefusals();
  return foretoken::test::finish("train_block_head");
}
