// Keys of hidden states: every path, the AVX-512 source lane by lane among them, gives the same bits; angles survive.
#include "avx512_emulation.h"
// The emulation comes first.
#include <random>
#include <vector>

#include "check.h"
#include "cpu/project-inl.h"
#include "engine/keys.h"

namespace {

using namespace foretoken;

using Key = std::vector<int8_t>;

ModelConfig configOf(int width) {
  ModelConfig config{};
  config.layers = 30;
  config.width = width;
  return config;
}

std::vector<float> randomState(std::mt19937& random, int width) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> state(width);
  for (float& x : state) x = normal(random);
  return state;
}

void testPathsAgree(int width) {
  std::mt19937 random(width);
  KeyMaker maker(configOf(width));
  std::vector<float> several;
  for (int i = 0; i < 9; ++i) {
    const auto state = randomState(random, width);
    several.insert(several.end(), state.begin(), state.end());
  }
  for (const bool centred : {false, true}) {
    if (centred) maker.centre(several, 9);
    std::vector<ProjectRow> paths = {kProjectPortable, project};
    for (const Isa isa : kIsas)
      if (isaAvailable(isa)) paths.push_back(projectRow(isa));
    for (int i = 0; i < 9; ++i) {
      Key first(kKeyWidth), key(kKeyWidth);
      paths[0](several.data() + i * width, width, maker.projection(), first.data());
      for (const ProjectRow path : paths) {
        path(several.data() + i * width, width, maker.projection(), key.data());
        CHECK(key == first);
      }
      int squares = 0;
      for (const int8_t x : first) squares += x * x;
      CHECK(squares > 122 * 122 && squares < 132 * 132);
    }
  }
}

/// The cosine of two keys is the cosine of their states, within what 64 numbers can tell.
void testAnglesSurvive() {
  std::mt19937 random(5);
  const KeyMaker maker(configOf(576));
  double worst = 0;
  for (int i = 0; i < 200; ++i) {
    const auto a = randomState(random, 576), other = randomState(random, 576);
    std::vector<float> b(576);
    const float part = static_cast<float>(i) / 200;
    for (int k = 0; k < 576; ++k) b[k] = part * a[k] + (1 - part) * other[k];
    double ab = 0, aa = 0, bb = 0;
    for (int k = 0; k < 576; ++k) ab += a[k] * b[k], aa += a[k] * a[k], bb += b[k] * b[k];
    Key x(kKeyWidth), y(kKeyWidth);
    kProjectPortable(a.data(), 576, maker.projection(), x.data());
    kProjectPortable(b.data(), 576, maker.projection(), y.data());
    int dot = 0;
    for (int j = 0; j < kKeyWidth; ++j) dot += x[j] * y[j];
    worst = std::max(worst, std::abs(dot / (127.0 * 127.0) - ab / std::sqrt(aa * bb)));
  }
  CHECK(worst < 0.45);
}

/// Keys outlive the process: those of a fixed state are the same for ever, by the definition in backend.h.
void testDefinition() {
  const int width = 100;
  std::mt19937 random(9);
  const KeyMaker maker(configOf(width));
  const auto state = randomState(random, width);
  uint64_t seed = 0;
  std::vector<double> p(kKeyWidth);
  for (const float h : state) {
    for (double& sum : p) {
      uint64_t z = seed += 0x9e3779b97f4a7c15ull;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      sum += (z ^ (z >> 31)) >> 63 ? -double{h} : double{h};
    }
  }
  double squares = 0;
  for (const double sum : p) squares += sum * sum;
  Key key(kKeyWidth);
  kProjectPortable(state.data(), width, maker.projection(), key.data());
  for (int j = 0; j < kKeyWidth; ++j) CHECK(std::abs(key[j] - p[j] * 127 / std::sqrt(squares)) < 0.51);
}

/// States without a direction have no key.
void testOddStates() {
  const KeyMaker maker(configOf(64));
  for (const float value : {0.0f, __builtin_inff(), __builtin_nanf(""), 3e38f}) {
    const std::vector<float> state(64, value);
    for (const ProjectRow path : {kProjectPortable, ProjectRow{project}}) {
      Key key(kKeyWidth, 1);
      path(state.data(), 64, maker.projection(), key.data());
      CHECK(key == Key(kKeyWidth, 0));
    }
  }
}

}  // namespace

int main() {
  for (int width : {64, 100, 576, 2048}) testPathsAgree(width);
  testAnglesSurvive();
  testDefinition();
  testOddStates();
  return foretoken::test::finish("project");
}
