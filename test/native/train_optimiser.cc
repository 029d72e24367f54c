// Optimisers against PyTorch's (test/fixtures/train/make_optimisers.py), the same bits with any number of threads, a
// resumed run equal to one that went on, and gradients that are not finite.
#include "train/optimiser.h"

#include <cstring>
#include <limits>

#include "fixtures.h"
#include "format/safetensors.h"
#include "train_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using namespace foretoken::train;

constexpr int kSteps = 6;
constexpr float kRate = 0.05f;
const std::vector<std::string> kNames = {"matrix", "tall", "vector"};

/// The fixture's tensors as runs of floats in one layout.
struct Golden {
  std::unique_ptr<SafetensorsFile> file = SafetensorsFile::open(fixture("train/optimisers.safetensors"));
  Parameters parameters;

  Golden() {
    for (const auto& name : kNames) {
      const TensorInfo& tensor = *file->find("start." + name);
      parameters.add(name, tensor.rows(), tensor.cols());
    }
  }
  Floats run(const std::string& prefix) const {
    Floats all(parameters.size());
    for (const Parameter& p : parameters.all()) {
      const TensorInfo* tensor = file->find(prefix + "." + p.name);
      if (tensor) std::memcpy(all.data() + p.offset, tensor->data, tensor->bytes);
    }
    return all;
  }
};

OptimiserOptions options() { return {.decay = 0.1f, .clip = 0.7f}; }
float rateOf(int step) { return kRate * static_cast<float>(step + 1) / kSteps; }

Floats train(Ops& ops, const Golden& golden, std::vector<Rule> rules) {
  Floats weights = golden.run("start");
  Optimiser optimiser(ops, golden.parameters, std::move(rules), options());
  for (int step = 0; step < kSteps; ++step) {
    const Floats gradient = golden.run("gradient." + std::to_string(step));
    CHECK(!optimiser.step(rateOf(step), gradient.data(), weights.data()).skipped);
  }
  return weights;
}

void testAgainstTorch() {
  const Golden golden;
  const Floats start = golden.run("start");
  const auto check = [&](const std::string& name, std::vector<Rule> rules, double close) {
    const Floats expected = golden.run(name);
    CHECK(difference(start, expected) > 10 * close);
    checkSameBits([&](Ops& ops) {
      const Floats weights = train(ops, golden, rules);
      CHECK(difference(weights, expected) < close);
      return weights;
    });
  };
  check("adamw", std::vector<Rule>(3, Rule::adamw), 1e-6);
  check("sgd", std::vector<Rule>(3, Rule::sgd), 1e-6);
  check("muon", {Rule::muon, Rule::muon, Rule::adamw}, 2e-3);  // both round to bf16, in different places
}

/// One step of Muon from momentum 0 is the gradient with its singular values near 1.
void testOrthogonal() {
  forEveryPath([](Ops& ops) {
    Parameters parameters;
    parameters.add("w", 16, 64);
    Optimiser optimiser(ops, parameters, {Rule::muon}, {});
    Floats weight(parameters.size());
    const Floats gradient = randomValues(parameters.size(), 1, 100);
    optimiser.step(1, gradient.data(), weight.data());
    for (int r = 0; r < 16; ++r)
      for (int s = 0; s <= r; ++s) {
        double product = 0;
        for (int c = 0; c < 64; ++c) product += weight[r * 64 + c] * weight[s * 64 + c] / (0.04 * 64);
        CHECK(r == s ? product > 0.4 && product < 1.6 : std::abs(product) < 0.4);
      }
  });
}

void testResume() {
  const Golden golden;
  const std::vector<Rule> rules = {Rule::muon, Rule::adamw, Rule::sgd};
  forEveryPath([&](Ops& ops) {
    Floats weights = golden.run("start"), moments;
    int64_t steps = 0;
    for (int step = 0; step < kSteps; ++step) {  // a new optimiser every step
      Optimiser optimiser(ops, golden.parameters, rules, options());
      std::copy(moments.begin(), moments.end(), optimiser.moments().begin());
      optimiser.setSteps(steps);
      optimiser.step(rateOf(step), golden.run("gradient." + std::to_string(step)).data(), weights.data());
      moments.assign(optimiser.moments().begin(), optimiser.moments().end());
      steps = optimiser.steps();
    }
    CHECK(weights == train(ops, golden, rules));
  });
}

void testNotFinite() {
  const Golden golden;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const Rule rule : {Rule::sgd, Rule::adamw, Rule::muon})
      forEveryPath([&](Ops& ops) {
        Floats weights = golden.run("start"), gradient = golden.run("gradient.0");
        Optimiser optimiser(ops, golden.parameters, {rule, rule, Rule::adamw}, options());
        optimiser.step(kRate, gradient.data(), weights.data());
        const Floats before = weights, moments(optimiser.moments().begin(), optimiser.moments().end());
        gradient[golden.parameters[1].offset + 77] = bad;
        const StepReport report = optimiser.step(kRate, gradient.data(), weights.data());
        CHECK(report.skipped && report.notFinite == "tall" && optimiser.steps() == 1);
        CHECK(weights == before);
        CHECK(std::equal(moments.begin(), moments.end(), optimiser.moments().begin()));
        gradient[golden.parameters[1].offset + 77] = 3e38f;  // finite: clipped
        const StepReport huge = optimiser.step(kRate, gradient.data(), weights.data());
        CHECK(!huge.skipped && huge.norm > 2.9e38);
        CHECK(std::all_of(weights.begin(), weights.end(), [](float w) { return std::isfinite(w); }));
      });
}

void testFrozen() {
  const Golden golden;
  forEveryPath([&](Ops& ops) {
    Floats weights = golden.run("start"), gradient = golden.run("gradient.0");
    gradient[0] = NAN;
    Optimiser optimiser(ops, golden.parameters, {Rule::frozen, Rule::adamw, Rule::sgd}, options());
    CHECK(!optimiser.step(kRate, gradient.data(), weights.data()).skipped);
    const Floats start = golden.run("start");
    const int64_t frozen = golden.parameters[0].size();
    CHECK(std::equal(start.begin(), start.begin() + frozen, weights.begin()));
    CHECK(weights[frozen] != start[frozen]);
  });
  ThreadPool pool(1);
  Ops ops(pool, Isa::portable);
  CHECK(codeOf([&] { Optimiser(ops, golden.parameters, std::vector<Rule>(3, Rule::muon), options()); }) ==
        "SHAPE_MISMATCH");
}

void testSchedule() {
  const Schedule schedule{.peak = 2, .warmup = 4, .total = 104, .floor = 0.1f};
  const auto near = [](float a, double b) { return std::abs(a - b) < 1e-6; };
  CHECK(near(schedule.at(0), 0.5) && near(schedule.at(3), 2) && near(schedule.at(4), 2));
  CHECK(near(schedule.at(54), 1.1) && near(schedule.at(104), 0.2) && near(schedule.at(1000), 0.2));
}

}  // namespace

int main() {
  testAgainstTorch();
  testOrthogonal();
  testResume();
  testNotFinite();
  testFrozen();
  testSchedule();
  return foretoken::test::finish("train_optimiser");
}
