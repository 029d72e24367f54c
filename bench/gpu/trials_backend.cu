// Through the backend: a model's logits, attention behind a prompt, in a tree and after its slots have moved, drawing,
// and what goes to the side bytes.
#include <cmath>

#include "bench/gpu/random_codes.h"
#include "bench/gpu/random_model.h"
#include "bench/gpu/sequence_rows.h"
#include "bench/gpu/trials.h"
#include "cuda/backend/cuda_backend.h"

namespace foretoken::bench {
namespace {

/// Of passes of one row and of chains of drafts. NaN where the first row has other bits among others than alone.
std::vector<float> modelLogits(Format format, KvFormat kv) {
  constexpr ModelShape kShape{2, 96, 176, 3, 1, 32, 1003};
  cuda::CudaBackend backend({0, 1});
  RandomModel model(backend, kShape, kv, format, 2, /*context=*/40, /*maxRows=*/12);
  std::vector<float> all;
  for (const int rows : {1, 5, 12}) {
    model.step(rows);
    const std::vector<float> logits = model.logits(rows);
    const bool same = all.empty() || std::equal(all.begin(), all.begin() + kShape.vocabulary, logits.begin());
    all.insert(all.end(), logits.begin(), logits.end());
    if (!same) all.push_back(NAN);
  }
  return all;
}

/// Rows of a prompt, normalised, through a matrix of fp8.
std::vector<float> promptProduct() {
  constexpr int kRows = 5, kInputs = 300, kOutputs = 146, kAlignment = 64;
  cuda::CudaBackend backend({0, 1});
  const std::vector<float> numbers = randomInputs(static_cast<size_t>(kOutputs) * kInputs);
  std::vector<uint8_t> packed(backend.packedBytes(Format::fp8, kOutputs, kInputs) + kAlignment);
  uint8_t* const aligned = packed.data() + (kAlignment - reinterpret_cast<uintptr_t>(packed.data()) % kAlignment);
  const MatrixSource source{FileType::f32, numbers.data(), kOutputs, kInputs};
  backend.pack(Format::fp8, {&source, 1}, false, aligned);
  const auto matrix = backend.matrix(Format::fp8, kOutputs, kInputs, aligned);
  const auto in = backend.tensor(kRows, kInputs), out = backend.tensor(kRows, kOutputs);
  backend.write(*in, numbers.data(), kRows);
  Pass pass;
  pass.rows = kRows, pass.prompts = true;
  backend.linear(pass, *matrix, *in, numbers.data() + 7, 1e-5f, *out, Epilogue::store);
  const float* const got = backend.read(*out, kRows);
  return {got, got + kRows * kOutputs};
}

/// A prompt, a tree behind it, and the row behind the branch that was accepted.
std::vector<float> attended(KvFormat kv) {
  constexpr int kHeads = 4, kKvHeads = 2, kDim = 32, kPages = 25, kPrompt = 300, kNodes = 8;
  constexpr int kWidth = (kHeads + 2 * kKvHeads) * kDim;
  cuda::CudaBackend backend({0, 1});
  backend.allocateKv({1, kKvHeads, kDim, kPages, 0, kv});
  std::vector<float> frequency, all, inputs = randomInputs(static_cast<size_t>(kPrompt + kNodes + 1) * kWidth);
  for (int i = 0; i < kDim / 2; ++i) frequency.push_back(std::pow(10000.0f, -2.0f * static_cast<float>(i) / kDim));
  const auto qkv = backend.tensor(kPrompt, kWidth), out = backend.tensor(kPrompt, kHeads * kDim);
  SequenceRows rows(kPages);
  int done = 0;
  const auto run = [&](bool prompts) {
    const Pass pass = rows.pass(prompts);
    backend.write(*qkv, inputs.data() + static_cast<int64_t>(done) * kWidth, pass.rows);
    backend.attention(pass, 0, kHeads, Rope{frequency, false}, *qkv, *out);
    const float* const got = backend.read(*out, pass.rows);
    all.insert(all.end(), got, got + static_cast<int64_t>(pass.rows) * kHeads * kDim);
    done += pass.rows;
    rows.clear();
  };
  for (int p = 0; p < kPrompt; ++p) rows.add(p, rows.slotOf(p), p + 1, {});
  run(true);
  constexpr int kParent[kNodes] = {-1, 0, 0, 1, 1, 2, 3, 5};  // slots of the tree are those of the last page
  std::vector<std::vector<int32_t>> path;
  for (int n = 0; n < kNodes; ++n) {
    path.push_back(kParent[n] < 0 ? std::vector<int32_t>{} : path[static_cast<size_t>(kParent[n])]);
    path.back().push_back(kNodes - n);
    rows.add(kPrompt - 1 + static_cast<int32_t>(path.back().size()), kNodes - n, kPrompt, path.back());
  }
  run(false);
  const std::vector<int32_t>& accepted = path[6];
  std::vector<int32_t> to;
  for (size_t i = 0; i < accepted.size(); ++i) to.push_back(rows.slotOf(kPrompt + static_cast<int32_t>(i)));
  backend.copySlots(accepted, to);
  const auto next = kPrompt + static_cast<int32_t>(accepted.size());
  rows.add(next, rows.slotOf(next), next + 1, {});
  run(false);
  return all;
}

constexpr int kVocabulary = 5003, kLogitRows = 4;

/// All rules at some positions.
std::vector<SampleResult> drawnBy(int logprobs) {
  static const std::vector<int32_t> history = {7, 7, 2500, 5002}, biasToken = {3, 4000};
  static const std::vector<float> biasValue = {-2, 1.5f};
  cuda::CudaBackend backend({0, 1});
  std::vector<float> values = randomInputs(static_cast<size_t>(kLogitRows) * kVocabulary);
  for (float& value : values) value *= 9;
  const auto logits = backend.tensor(kLogitRows, kVocabulary);
  backend.write(*logits, values.data(), kLogitRows);
  std::vector<SampleRow> rows;
  for (int i = 0; i < 24; ++i) {
    SampleRow row{};
    row.logitRow = i % kLogitRows, row.seed = 5, row.position = i, row.logprobs = logprobs;
    if (i % 6 > 0) row.temperature = 0.5f + 0.25f * static_cast<float>(i % 6);
    if (i % 6 == 2) row.topK = 40;
    if (i % 6 >= 3) row.topP = 0.9f;
    if (i % 6 == 4) row.minP = 0.02f, row.topK = 300;
    if (i % 6 == 5) {
      row.history = history.data(), row.historyLength = 4, row.repetitionPenalty = 1.3f, row.frequencyPenalty = 0.2f;
      row.biasToken = biasToken.data(), row.biasValue = biasValue.data(), row.biasCount = 2;
    }
    rows.push_back(row);
  }
  std::vector<SampleResult> results(rows.size());
  backend.sample(*logits, kVocabulary, rows, results);
  return results;
}

std::vector<float> drawnTokens() {
  std::vector<float> tokens;
  for (const SampleResult& each : drawnBy(-1)) tokens.push_back(static_cast<float>(each.token));
  return tokens;
}

std::vector<float> likeliestTokens() {
  std::vector<float> numbers;
  for (const SampleResult& each : drawnBy(kMaxLogprobs)) {
    numbers.push_back(each.logprob);
    numbers.insert(numbers.end(), each.topLogprob, each.topLogprob + kMaxLogprobs);
  }
  return numbers;
}

/// Keys, hidden states that are kept and come back, rows that are added up.
std::vector<float> sideBytes() {
  constexpr int kWidth = 200, kRows = 5, kSide = kKeyWidth + 2 * kWidth;
  cuda::CudaBackend backend({0, 1});
  backend.allocateKv({1, 1, 32, 1, kSide, KvFormat::bf16});
  const std::vector<float> values = randomInputs(static_cast<size_t>(kRows) * kWidth);
  const std::vector<uint8_t> codes = randomCodes((kWidth + 31) / 32 * kKeyWidth * sizeof(uint32_t));
  std::vector<uint32_t> signs(codes.size() / sizeof(uint32_t));
  for (size_t i = 0; i < signs.size(); ++i) signs[i] = codes[i] * 2654435761u;
  const std::vector<float> centre(kKeyWidth, 0.01f);
  const auto in = backend.tensor(kRows, kWidth), back = backend.tensor(kRows, kWidth);
  backend.write(*in, values.data(), kRows);
  SequenceRows rows(1);
  for (int r = 0; r < kRows; ++r) rows.add(r, 2 * r + 1, r + 1, {});
  const Pass pass = rows.pass(false);
  backend.project(pass, *in, {signs.data(), centre.data()});
  backend.keep(pass, *in, kKeyWidth);
  backend.kept(pass, kKeyWidth, *back);
  const std::vector<int32_t> list = {4, 0, 4};
  backend.addRows(*in, list, *back, 1);
  const float* const read = backend.read(*back, kRows);
  std::vector<float> numbers(read, read + kRows * kWidth);
  for (int r = 0; r < kRows; ++r)
    for (int j = 0; j < kKeyWidth; ++j) numbers.push_back(static_cast<int8_t>(backend.side(2 * r + 1)[j]));
  return numbers;
}

}  // namespace

std::vector<Trial> backendTrials() {
  using cuda::MatrixUnit;
  const std::pair<const char*, Format> formats[] = {
      {"bf16", Format::bf16}, {"fp8", Format::fp8}, {"nvfp4", Format::nvfp4}, {"mxfp4", Format::mxfp4}};
  std::vector<Trial> all;
  // What products leave is rounded to bf16 or e4m3 now and then to the other side.
  for (const auto& [name, format] : formats) {
    all.push_back({std::string("model.") + name, MatrixUnit::none, 0.02,
                   [format = format] { return modelLogits(format, KvFormat::bf16); }});
    all.push_back({std::string("model.") + name + ".kvFp8", MatrixUnit::none, 0.05,
                   [format = format] { return modelLogits(format, KvFormat::fp8); }});
  }
  all.push_back({"prompts.wgmma", MatrixUnit::wgmma, 2e-3, promptProduct});
  all.push_back({"prompts.tcgen05", MatrixUnit::tcgen05, 2e-3, promptProduct});
  all.push_back({"attention.bf16", MatrixUnit::none, 0.01, [] { return attended(KvFormat::bf16); }});
  all.push_back({"attention.fp8", MatrixUnit::none, 0.01, [] { return attended(KvFormat::fp8); }});
  all.push_back({"drawing", MatrixUnit::none, 0, drawnTokens});
  all.push_back({"likeliest", MatrixUnit::none, 1e-5, likeliestTokens});
  all.push_back({"sides", MatrixUnit::none, 0, sideBytes});
  return all;
}

}  // namespace foretoken::bench
