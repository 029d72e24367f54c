// The whole CUDA backend through the executor, below the model and the engine that run on any backend: logits against
// the exact ones, a row's bits whatever it is computed with, and speculation that changes no token.
#include <algorithm>
#include <random>

#include "engine/timed_backend.h"
#include "test/cuda/backend_rig.h"
#include "test/cuda/schedules.h"
#include "test/native/model_rig.h"
#include "test/native/refusal.h"
#include "test/native/starving.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using cuda::CudaBackend;

std::vector<int32_t> randomTokens(std::mt19937& random, int count, int vocabulary) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocabulary);
  return tokens;
}

// --- logits ----------------------------------------------------------------------------------------------------------

/// How far logits may be from the exact ones, relative to the largest: activations are rounded to bf16 on the way into
/// every product, keys and values as their format has it.
float toleranceOf(KvFormat kv) { return kv == KvFormat::fp8 ? 12e-2f : 2e-2f; }

/// Whether both name the same token, unless the exact logits leave that open.
bool sameToken(const Logits& got, const Logits& exact, float tolerance) {
  const int best = argmax(exact);
  return argmax(got) == best || exact[best] - exact[argmax(got)] <= 2 * tolerance;
}

/// Logits of a checkpoint's prompts against those in its golden file, which were computed in double.
void testGolden(const std::string& name, KvFormat kv) {
  LoadedModel loaded(fixture("models/" + name), "bf16", cudaBackend(), 64, kv);
  for (const GoldenPrompt& prompt : readGolden(fixture("models/" + name + ".golden"))) {
    const std::vector<Logits> got = loaded.feed(prompt.tokens, 24);
    for (const auto& [position, exact] : prompt.exact) {
      const float tolerance = toleranceOf(kv) * largest(exact);
      CHECK(largestDifference(got[position], exact) < tolerance);
      CHECK(sameToken(got[position], exact, tolerance));
    }
  }
}

/// The same checkpoint gated by GELU: both backends agree on what that changes.
void testGelu() {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/model", silu = "\"hidden_act\": \"silu\"";
  std::filesystem::copy(fixture("models/tied-f32"), path);
  std::ostringstream text;
  text << std::ifstream(path + "/config.json").rdbuf();
  std::string config = text.str();
  CHECK(config.find(silu) != std::string::npos);
  config.replace(config.find(silu), silu.size(), "\"hidden_act\": \"gelu_pytorch_tanh\"");
  std::ofstream(path + "/config.json") << config;

  LoadedModel cpu(path, "f32"), device(path, "bf16", cudaBackend());
  for (const GoldenPrompt& prompt : readGolden(fixture("models/tied-f32.golden"))) {
    if (prompt.tokens.size() > 50) continue;
    const std::vector<Logits> expected = cpu.feed(prompt.tokens, 24), got = device.feed(prompt.tokens, 24);
    for (const auto& [position, gatedBySilu] : prompt.exact) {
      const float tolerance = toleranceOf(KvFormat::bf16) * largest(expected[position]);
      CHECK(largestDifference(got[position], expected[position]) < tolerance);
      CHECK(largestDifference(expected[position], gatedBySilu) > tolerance);
    }
  }
}

// --- bits ------------------------------------------------------------------------------------------------------------

/// Chunks of every kind, other pages and trees against one token at a time: as prompts, and as what is generated.
void testBits(const std::string& weights, KvFormat kv) {
  std::mt19937 random(11);
  LoadedModel loaded(fixture("models/tied-f16.gguf"), weights, cudaBackend(), 32, kv);
  const int length = longRun() ? 150 : 40, vocabulary = loaded.model->config().vocabulary;
  const std::vector<int32_t> tokens = randomTokens(random, length, vocabulary);
  std::vector<int32_t> table = loaded.orderedPages();
  std::shuffle(table.begin(), table.end(), random);
  std::vector<Logits> oneByOne;
  for (const bool prompts : {true, false}) {
    loaded.prompts = prompts;
    const std::vector<Logits> asPrompt = std::move(oneByOne);
    oneByOne = loaded.feed(tokens, 1);
    for (const int chunk : {3, 17, length}) CHECK(differingRows(loaded.feed(tokens, chunk), oneByOne) == 0);
    CHECK(differingRows(loaded.feed(tokens, 0, length, 23, table), oneByOne) == 0);
    if (!prompts) CHECK(differingRows(asPrompt, oneByOne) == (loaded.backend->promptsDiffer() ? length : 0));
  }

  // A tree whose last path is the sequence itself, beside wrong turns.
  const int base = length - 7;
  std::vector<Node> nodes;
  for (int p = base; p < length; ++p) {
    Node node{tokens[p], p, table[31] * kPageSize + (p - base), base, {}};
    if (!nodes.empty()) node.ancestors = nodes[nodes.size() - 1 - (p > base + 1)].ancestors;
    Node wrong = node;
    wrong.token = (node.token + 1) % vocabulary, wrong.slot = table[30] * kPageSize + (p - base);
    node.ancestors.push_back(node.slot), wrong.ancestors.push_back(wrong.slot);
    nodes.push_back(node);
    if (p > base) nodes.push_back(wrong);
  }
  const std::vector<Logits> inTree = loaded.run(nodes, table, false);
  for (size_t n = 0, p = base; n < nodes.size(); n += n == 0 ? 1 : 2, ++p)
    CHECK(differingRows({inTree[n]}, {oneByOne[p]}) == 0);
}

// --- the engine ------------------------------------------------------------------------------------------------------

Request request(int32_t n, int32_t vocabulary) {
  Request r;
  for (int32_t i = 0; i < 20 + n % 7; ++i) r.prompt.push_back((i < 16 ? n % 2 * 131 + i % 5 : n * 17 + i) % vocabulary);
  r.maxTokens = longRun() ? 40 : 16;
  r.seed = static_cast<uint64_t>(n);
  if (n % 3 != 0) r.temperature = 0.8f, r.topK = n % 3 == 1 ? 20 : 0, r.topP = 0.95f;
  if (n % 4 == 3) r.repetitionPenalty = 1.2f, r.frequencyPenalty = 0.1f;
  r.maxLookahead = 1 + n % 7;
  return r;
}

int requests() { return longRun() ? 12 : 4; }

std::map<int32_t, std::vector<int32_t>> plainTexts() {
  OnCuda plain(engineOptions(1), nullptr);
  const CudaBackend& backend = cudaOf(*plain.backend);
  int64_t waits = 0, rounds = 0;
  for (int32_t n = 0; n < requests(); ++n) {
    Request r = request(n, plain.model->config().vocabulary);
    r.speculate = false;
    plain.submit(n + 1, r);
    plain.run();
    if (n == 0) waits = backend.waits(), rounds = plain.core->counters().rounds;  // by then memory has grown
  }
  CHECK(plain.drafted == 0);
  // Passes of one row repeat what the first ones recorded, and the host waits for each of them once; for a prompt's
  // keys it waits before it waits for the first token.
  CHECK(backend.graphs().repeated() > 4 * backend.graphs().recorded());
  CHECK(backend.waits() - waits <= plain.core->counters().rounds - rounds + 8 * requests());
  return plain.got;
}

/// Once memory has grown the host waits twice in a round that a head drafts for: for the drafts, and for the tokens.
void testWaitsWithHead(const HeadRig& head) {
  OnCuda engine(engineOptions(1), &head);
  Request r = request(0, engine.model->config().vocabulary);
  r.force = static_cast<int32_t>(DrafterId::head), r.maxLookahead = 4;
  int64_t waits = 0, rounds = 0;
  for (const int32_t id : {1, 2}) {
    waits = cudaOf(*engine.backend).waits(), rounds = engine.core->counters().rounds;
    engine.submit(id, r);
    engine.run();
  }
  rounds = engine.core->counters().rounds - rounds, waits = cudaOf(*engine.backend).waits() - waits;
  CHECK(rounds > 8 && engine.drafted > 0 && waits <= 2 * rounds + 4);
}

/// Whoever drafts, all together, prefilled in pieces, heads exchanged in between as when they learn: every sequence
/// gets the tokens of plain decoding, one at a time.
void testSpeculation(const HeadRig* head) {
  static const auto expected = plainTexts();
  EngineOptions options = engineOptions(4);
  options.prefillChunk = 24;
  options.prefillChunkBeside = 7;
  OnCuda drafting(options, head);
  const DrafterId drafters[] = {DrafterId::suffix, DrafterId::recall, DrafterId::adversarial, DrafterId::head};
  for (int32_t n = 0; n < requests(); ++n) {
    Request r = request(n, drafting.model->config().vocabulary);
    r.force = static_cast<int32_t>(drafters[n % (head ? 4 : 3)]);
    drafting.submit(n + 1, r);
    if (n % 2 == 0) continue;
    drafting.core->step();  // they join in the middle of things
    if (!head) continue;
    const HeadRig learned("tied-f16.gguf", 7 + n);
    drafting.core->setHead(nullptr,
                           std::make_shared<const HeadWeights>(learned.source(), *drafting.model, *drafting.backend));
  }
  drafting.run();
  CHECK(drafting.got == expected);
  CHECK(drafting.drafted > 0);
}

// --- time ------------------------------------------------------------------------------------------------------------

/// `sample` waits for the pass, and says how long drawing alone took: the same after any pass, and little of it. On the
/// executor blocks are counted. Who times operations waits for each.
void testTimes() {
  OnCuda engine(engineOptions(1), nullptr);
  double drawing = 0;
  for (const int context : {0, kContext - 1}) {
    const uint64_t before = simt::blocksRun;
    engine.core->runPasses(1, context, 1);
    const double all = 1e-6 * static_cast<double>(simt::blocksRun - before);
    const double drawn = cudaOf(*engine.backend).drawingSeconds();
    CHECK(drawn > 0 && 10 * drawn < all && engine.backend->waited() > 0);
    CHECK(drawing == 0 || drawn == drawing);
    drawing = drawn;
  }
  TimedBackend timed(cudaBackend());
  const CudaBackend& inner = cudaOf(timed.inner());
  const auto rows = timed.tensor(3, 32), sum = timed.tensor(3, 32);
  const std::vector<float> zeros(3 * 32);
  for (Tensor* const t : {rows.get(), sum.get()}) timed.write(*t, zeros.data(), 3);
  const std::vector<int32_t> list{0, 2};
  timed.addRows(*rows, list, *sum, 0);
  timed.settle();  // by now memory has grown
  const int64_t waits = inner.waits();
  timed.addRows(*rows, list, *sum, 0);
  CHECK(inner.waits() == waits);
  timed.start();
  for (int i = 0; i < 5; ++i) timed.addRows(*rows, list, *sum, 0);
  CHECK(inner.waits() >= waits + 5 && timed.stop().size() == 1);
}

/// More tokens than kernels draw from are refused where logits get their room, so when a model is loaded.
void testVocabulary() {
  const auto backend = cudaBackend();
  const auto logits = backend->tensor(1, cuda::kMostTokens);
  CHECK(codeOf([&] { backend->tensor(1, cuda::kMostTokens + 1); }) == "UNSUPPORTED_VOCABULARY");
  const SampleRow row{};
  SampleResult result;
  CHECK(codeOf([&] { backend->sample(*logits, cuda::kMostTokens + 1, {&row, 1}, {&result, 1}); }) == "INTERNAL_ERROR");
}

/// Logits of a head have room for more tokens than it has: every row is drawn from its own all the same.
void testRoomInLogits() {
  constexpr int kWidth = 32, kTokens = 48, kRows = 3;
  std::mt19937 random(5);
  const auto own = cudaBackend();
  Backend& backend = *own;
  MatrixSet set;
  set.add(Format::bf16, kTokens, kWidth, normalFloats(random, kTokens * kWidth, 1));
  set.pack(backend);
  const auto in = backend.tensor(kRows, kWidth);
  backend.write(*in, normalFloats(random, kRows * kWidth, 1).data(), kRows);
  const std::vector<int32_t> all{0, 1, 2};
  Pass pass;
  pass.rows = pass.logitRows = kRows;
  pass.logitRow = all.data();
  const auto drawn = [&](int room) {
    const auto logits = backend.tensor(kRows, room);
    backend.logits(pass, set[0], *in, nullptr, 0, *logits);
    std::vector<SampleRow> rows(kRows);
    for (const int32_t r : all) rows[r].logitRow = r, rows[r].logprobs = 0;
    std::vector<SampleResult> results(kRows);
    backend.sample(*logits, kTokens, rows, results);
    std::vector<std::pair<int32_t, float>> tokens;
    for (const SampleResult& result : results) tokens.emplace_back(result.token, result.logprob);
    return tokens;
  };
  const auto tight = drawn(kTokens);
  CHECK(tight == drawn(kTokens + 1024) && tight[0] != tight[1] && tight[1] != tight[2]);
}

/// Norms that a head brings are on the device as long as it is used, and not much longer.
void testCopiesOfTheGone() {
  constexpr int kWidth = 32, kHeads = 200, kRounds = 30;
  const auto own = cudaBackend();
  Backend& backend = *own;
  MatrixSet set;
  set.add(Format::bf16, kWidth, kWidth, std::vector<float>(kWidth * kWidth, 1.0f));
  set.pack(backend);
  const auto in = backend.tensor(1, kWidth), out = backend.tensor(1, kWidth);
  std::vector<float> norms(4 * kHeads + kWidth, 1.0f), ones(kWidth, 1.0f);
  backend.write(*in, ones.data(), 1);
  Pass pass;
  pass.rows = 1;
  size_t most = 0;
  const float* const first = norms.data();
  for (int head = 1; head <= kHeads; ++head) {
    for (int round = 0; round < kRounds; ++round)
      backend.linear(pass, set[0], *in, round == 0 ? first + 4 * head : first, 1e-5f, *out, Epilogue::store);
    most = std::max(most, cudaOf(backend).copies());
  }
  CHECK(most < 100);
  CHECK(std::abs(backend.read(*out, 1)[0] - kWidth) < 0.5f);
}

// --- memory ----------------------------------------------------------------------------------------------------------

/// A backend that multiplies rows of numbers by a matrix.
struct Multiplying {
  static constexpr int kWidth = 8192, kOutputs = 32, kMost = 16;
  std::unique_ptr<Backend> own = cudaBackend();
  MatrixSet set;
  std::unique_ptr<Tensor> in = own->tensor(kMost, kWidth), out = own->tensor(kMost, kOutputs);

  Multiplying() {
    std::mt19937 random(3);
    set.add(Format::bf16, kOutputs, kWidth, normalFloats(random, kOutputs * kWidth, 1));
    set.pack(*own);
    own->write(*in, normalFloats(random, kMost * kWidth, 1).data(), kMost);
  }
  void note(int rows, Epilogue epilogue = Epilogue::store) {
    Pass pass;
    pass.rows = rows;
    own->linear(pass, set[0], *in, nullptr, 0, *out, epilogue);
  }
  std::vector<float> read(int rows) {
    const float* const values = own->read(*out, rows);
    return {values, values + rows * kOutputs};
  }
};

/// Room for all that a larger pass needs is enough, whatever the smaller one before it had; where there is less it says
/// so, and goes on when there is more.
void testRoomForScratch() {
  constexpr size_t kNeeded = Multiplying::kMost * Multiplying::kWidth * sizeof(uint16_t);
  Multiplying fresh;
  fresh.note(Multiplying::kMost);
  const std::vector<float> expected = fresh.read(Multiplying::kMost);
  for (const bool isEnough : {true, false}) {
    Multiplying backend;
    backend.note(Multiplying::kMost / 2);
    backend.own->settle();
    simt::room.most = simt::room.taken + (isEnough ? kNeeded * 3 / 4 : kNeeded / 4);  // half of it is there already
    const std::string code = codeOf([&] { backend.note(Multiplying::kMost); });
    simt::room.most = std::numeric_limits<size_t>::max();
    CHECK(code == (isEnough ? "" : "OUT_OF_MEMORY"));
    if (!isEnough) backend.note(Multiplying::kMost);
    CHECK(backend.read(Multiplying::kMost) == expected);
  }
}

/// A pool takes what it was said to, but for what the system's pages round up.
void testRoomForPages() {
  constexpr size_t kRounding = 2 * 8192;
  for (const KvFormat format : {KvFormat::bf16, KvFormat::fp8}) {
    const KvShape shape{3, 2, 80, 400, 500, format};
    const std::unique_ptr<Backend> backend = cudaBackend();
    const size_t before = simt::room.taken;
    backend->allocateKv(shape);
    const size_t taken = simt::room.taken - before;
    CHECK(taken >= backend->kvBytes(shape) && taken < backend->kvBytes(shape) + kRounding);
  }
}

/// Graphs of other passes make room for a new one's.
void testRoomForGraphs() {
  Multiplying backend;
  backend.note(2);
  std::vector<float> expected = backend.read(2);
  for (float& sum : expected) sum += sum;
  simt::faults.arm({simt::Call::allocate, 0, cudaErrorMemoryAllocation});
  backend.note(2, Epilogue::add);
  CHECK(backend.read(2) == expected && simt::faults.mend());
}

/// The host has no memory to note an operation, whichever of a pass: nothing of the pass is ever carried out.
void testStarvedPass() {
  int grant = 0;
  for (bool starved = true; starved; ++grant) {
    Multiplying backend;
    const auto noteAll = [&] {
      backend.note(2);
      for (int i = 0; i < 6; ++i) backend.note(2, Epilogue::add);
    };
    noteAll();
    const std::vector<float> expected = backend.read(2);
    bool threw = false;
    starve(grant, 1);
    try {
      noteAll();
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    starved = feed();
    CHECK(threw == starved);
    const uint64_t blocks = simt::blocksRun;
    backend.own->settle();
    CHECK((simt::blocksRun == blocks) == starved);
    noteAll();
    CHECK(backend.read(2) == expected);
  }
  CHECK(grant > 3);
}

// --- work of the host ------------------------------------------------------------------------------------------------

/// Work of the host between passes: every item once, on its threads, plain integers for a sanitizer to watch.
void testSpread() {
  CudaBackend backend({0, 3});
  for (const int64_t items : {0, 1, 4, 5, 32, 33, 1000}) {
    std::vector<int> done(items, 0);
    for (int loop = 0; loop < 20; ++loop)
      backend.spread(items, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) ++done[i];
      });
    CHECK(std::count(done.begin(), done.end(), 20) == items);
  }
}

}  // namespace

int main() {
  testSpread();
  testRoomForScratch();
  testRoomForPages();
  testRoomForGraphs();
  testStarvedPass();
  forEachSchedule(longRun() ? 2 : 1, [] {
    for (const char* name : {"tied-f16.gguf", "llama3-bf16.gguf", "qwen2", "qwen3.gguf"}) {
      testGolden(name, KvFormat::bf16);
      testGolden(name, KvFormat::fp8);
    }
    testGelu();
    testBits("bf16", KvFormat::bf16);
    testBits("bf16", KvFormat::fp8);
    testBits("fp8", KvFormat::bf16);
    testSpeculation(nullptr);
    const HeadRig head("tied-f16.gguf");
    testSpeculation(&head);
    testWaitsWithHead(head);
    testTimes();
    testCopiesOfTheGone();
    testRoomInLogits();
    testVocabulary();
  });
  return finish("backend");
}
