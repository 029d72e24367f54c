// Prompts on the CUDA backend, whose weights of fp8 meet inputs of e4m3 there and of f16 elsewhere: products against
// their formulas in double, logits beside the CPU's, and an engine in which each position keeps to its phase.
#include <cmath>
#include <random>

#include "cpu/pack.h"
#include "quant/float_codecs.h"
#include "test/cuda/backend_rig.h"
#include "test/cuda/schedules.h"
#include "test/native/model_rig.h"
#include "test/native/phases_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

constexpr int kTokens = 5, kRows = 146, kCols = 300;
constexpr float kEps = 1e-5f;

/// A matrix of random numbers in a backend, and the numbers that it stands for.
struct RandomMatrix {
  RandomMatrix(Backend& backend, Format format) : packed(backend.packedBytes(format, kRows, kCols) + 64) {
    std::mt19937 random(3);
    values = normalFloats(random, static_cast<size_t>(kRows) * kCols);
    auto* const aligned = packed.data() + (64 - reinterpret_cast<uintptr_t>(packed.data()) % 64);
    const MatrixSource source{FileType::f32, values.data(), kRows, kCols};
    backend.pack(format, {&source, 1}, false, aligned);
    matrix = backend.matrix(format, kRows, kCols, aligned);
    for (int n = 0; n < kRows; ++n)
      unpackRow(format, kRows, kCols, aligned, n, values.data() + static_cast<size_t>(n) * kCols);
  }
  std::vector<uint8_t> packed;
  std::vector<float> values;
  std::unique_ptr<Matrix> matrix;
};

/// Rows normalised; and, where they are `quantised`, as they are then, a scale for 128 columns.
std::vector<double> inputsOf(const std::vector<float>& in, int cols, const float* norm, float eps, bool quantised) {
  std::vector<double> x(in.begin(), in.end());
  for (size_t at = 0; at < x.size(); at += cols) {
    double* const row = x.data() + at;
    double squares = 0;
    for (int k = 0; k < cols; ++k) squares += row[k] * row[k];
    for (int k = 0; k < cols && norm; ++k) row[k] *= norm[k] / std::sqrt(squares / cols + eps);
    for (int first = 0; first < cols && quantised; first += 128) {
      const int end = std::min(cols, first + 128);
      float largest = 0;
      for (int k = first; k < end; ++k) largest = std::max(largest, std::abs(static_cast<float>(row[k])));
      const float scale = largest > 0 ? largest / 448 : 1;
      for (int k = first; k < end; ++k)
        row[k] = double{e4m3ToFloat(floatToE4m3(static_cast<float>(row[k]) / scale))} * scale;
    }
  }
  return x;
}

/// The worst error of results, relative to the magnitudes that they are sums of.
double worstError(const std::vector<float>& got, const std::vector<double>& x, const std::vector<float>& w) {
  double worst = 0;
  for (int m = 0; m < kTokens; ++m)
    for (int n = 0; n < kRows; ++n) {
      double sum = 0, magnitude = 0;
      for (int k = 0; k < kCols; ++k) {
        const double part = x[m * kCols + k] * w[static_cast<size_t>(n) * kCols + k];
        sum += part, magnitude += std::abs(part);
      }
      worst = std::max(worst, std::abs(got[m * kRows + n] - sum) / magnitude);
    }
  return worst;
}

/// Products of a pass over given rows.
class Products {
 public:
  explicit Products(Backend& backend) : backend_(backend) {
    std::mt19937 random(4);
    in = normalFloats(random, kTokens * kCols, 3), norm = normalFloats(random, kCols);
    in_ = backend.tensor(kTokens, kCols), out_ = backend.tensor(kTokens, kRows);
    gated_ = backend.tensor(kTokens, kRows / 2);
    backend.write(*in_, in.data(), kTokens);
  }
  std::vector<float> linear(const Matrix& w, bool prompts, const float* weight, Epilogue how = Epilogue::store) {
    Tensor& out = isGated(how) ? *gated_ : *out_;
    const std::vector<float> ones(kTokens * kRows, 1.0f);
    backend_.write(out, ones.data(), kTokens);
    backend_.linear(pass(prompts), w, *in_, weight, kEps, out, how);
    return read(out);
  }
  std::vector<float> logits(const Matrix& w, bool prompts) {
    backend_.logits(pass(prompts), w, *in_, norm.data(), kEps, *out_);
    return read(*out_);
  }
  std::vector<float> in, norm;

 private:
  Pass pass(bool prompts) {
    Pass result;
    result.rows = result.logitRows = kTokens;
    result.logitRow = logitRow_.data();
    result.prompts = prompts;
    return result;
  }
  std::vector<float> read(const Tensor& tensor) {
    const float* const got = backend_.read(tensor, kTokens);
    return {got, got + kTokens * tensor.width()};
  }
  Backend& backend_;
  std::unique_ptr<Tensor> in_, out_, gated_;
  const std::vector<int32_t> logitRow_ = {0, 1, 2, 3, 4};
};

/// fp8 alone has two kinds of product, and only for the rows of prompts whose results stay in the model.
void testProducts() {
  const auto own = cudaBackend();
  Backend& backend = *own;
  Products products(backend);
  const RandomMatrix halves(backend, Format::bf16), fours(backend, Format::nvfp4);
  CHECK(!backend.promptsDiffer());
  const RandomMatrix w(backend, Format::fp8);
  CHECK(backend.promptsDiffer());
  const auto linear = [&](bool prompts, const float* norm, Epilogue how = Epilogue::store) {
    return products.linear(*w.matrix, prompts, norm, how);
  };
  // Rounding to other codes than the reference's, where a normalised number lies between two, is not excluded.
  const auto error = [&](bool prompts, const float* norm, bool quantised) {
    return worstError(linear(prompts, norm), inputsOf(products.in, kCols, norm, kEps, quantised), w.values);
  };
  const float* const norm = products.norm.data();
  CHECK(error(true, nullptr, true) < 1e-6 && error(true, norm, true) < 3e-4);
  CHECK(error(false, norm, false) < 1e-4 && error(true, norm, false) > 1e-3);
  for (const bool prompts : {true, false}) {
    const std::vector<float> stored = linear(prompts, norm), added = linear(prompts, norm, Epilogue::add);
    const std::vector<float> silus = linear(prompts, norm, Epilogue::swiglu),
                             gelus = linear(prompts, norm, Epilogue::geglu);
    for (size_t i = 0; i < stored.size(); ++i) CHECK(added[i] == 1 + stored[i]);
    for (size_t i = 0; i < silus.size(); ++i) {
      CHECK(silus[i] == cuda::silu(stored[2 * i]) * stored[2 * i + 1]);
      CHECK(gelus[i] == cuda::gelu(stored[2 * i]) * stored[2 * i + 1]);
    }
  }
  CHECK(products.logits(*w.matrix, true) == products.logits(*w.matrix, false));
  for (const RandomMatrix* other : {&halves, &fours})
    CHECK(products.linear(*other->matrix, true, norm) == products.linear(*other->matrix, false, norm));
}

/// Products for prompts of inputs that were quantised before, which changes them no more.
class Quantising final : public TimedBackend {
 public:
  using TimedBackend::TimedBackend;
  void linear(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
              Epilogue epilogue) override {
    if (!pass.prompts || w.format() != Format::fp8) return inner().linear(pass, w, in, norm, eps, out, epilogue);
    const float* const read = inner().read(in, pass.rows);
    const std::vector<double> x =
        inputsOf({read, read + pass.rows * w.cols()}, static_cast<int>(w.cols()), norm, eps, true);
    const auto quantised = inner().tensor(pass.rows, w.cols());
    inner().write(*quantised, std::vector<float>(x.begin(), x.end()).data(), pass.rows);
    inner().linear(pass, w, *quantised, nullptr, eps, out, epilogue);
    inner().settle();
  }
};

/// How far logits are from others, relative to the largest. Where inputs are quantised by their formula nothing but a
/// last bit may be another. The CPU's inputs are bf16: from its logits a random model's are as far as three bits of
/// fraction instead of eight have it where they are a prompt's, and near where they are not.
void testLogits() {
  std::mt19937 random(7);
  const std::string path = fixture("models/tied-f16.gguf");
  LoadedModel device(path, "fp8", cudaBackend(), 32), cpu(path, "fp8");
  LoadedModel byFormula(path, "fp8", std::make_unique<Quantising>(cudaBackend()), 32);
  std::vector<int32_t> tokens(30);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % cpu.model->config().vocabulary);
  const auto farFrom = [&](LoadedModel& other, bool prompts) {
    device.prompts = prompts;
    const std::vector<Logits> got = device.feed(tokens, 7), expected = other.feed(tokens, 30);
    float most = 0;
    for (size_t r = 0; r < got.size(); ++r)
      most = std::max(most, largestDifference(got[r], expected[r]) / largest(expected[r]));
    return most;
  };
  CHECK(farFrom(byFormula, true) < 1e-3f);
  CHECK(farFrom(cpu, true) < 15e-2f && farFrom(cpu, false) < 2e-2f);
}

void testEngine(bool thorough) {
  PhasesRig rig({cudaBackend, "fp8", 3, 20, 18, 96});
  rig.testCrowded(24, 7, false);
  if (!thorough) return;
  rig.testDifference(cudaBackend(), "bf16");
  rig.testCrowded(1, 1, false);
  for (const DrafterId drafter : {DrafterId::recall, DrafterId::head}) rig.testHits(drafter);
  rig.testRestart(4);
  rig.testAnswerIsAnothersPrompt();
}

}  // namespace

int main() {
  for (const bool blackwell : {false, true}) {
    simt::model.hasTensorMemory = blackwell;
    forEachSchedule(longRun() ? 4 : 2, testProducts);
    testLogits();
    testEngine(!blackwell || longRun());
  }
  return finish("prompts");
}
