// Recall on the device: keys against a double reference and bit for bit those of the CPU, nearest places bit for bit
// those of the CPU's recall, votes those of its tree.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "cpu/project.h"
#include "cuda/recall/recall.cuh"
#include "cuda/step/pass_words.h"
#include "speculate/recall.h"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {
namespace {

// --- keys ------------------------------------------------------------------------------------------------------------

struct Projected {
  std::vector<float> hidden, centre;
  std::vector<uint32_t> signs;
  std::vector<int32_t> slot;
  std::vector<int8_t> side;
};
constexpr int kSideBytes = 80;

Projected projectRandom(std::mt19937& random, int rows, int width) {
  Projected p;
  p.hidden = normalFloats(random, static_cast<size_t>(rows) * static_cast<size_t>(width), 3);
  p.centre = normalFloats(random, kKeyWidth, 0.2f);
  p.signs.resize(static_cast<size_t>((width + 31) / 32) * kKeyWidth);
  for (uint32_t& word : p.signs) word = static_cast<uint32_t>(random());
  p.slot.resize(static_cast<size_t>(rows));
  std::iota(p.slot.begin(), p.slot.end(), 2);
  std::shuffle(p.slot.begin(), p.slot.end(), random);
  p.side.assign(static_cast<size_t>(rows + 3) * kSideBytes, 99);
  return p;
}

void run(Projected& p, int width) {
  const auto rows = static_cast<int>(p.slot.size());
  Pass pass;
  pass.rows = rows;
  pass.slot = p.slot.data();
  cuda::PassWords words;
  words.begin(pass);
  cuda::projectRows({words.words().data(),
                     p.hidden.data(),
                     width,
                     p.signs.data(),
                     p.centre.data(),
                     {reinterpret_cast<uint8_t*>(p.side.data()), kSideBytes}},
                    rows + 1, nullptr);
}

/// Number j of a key, before it is rounded.
std::vector<double> exactKey(const Projected& p, int row, int width) {
  std::vector<double> key(kKeyWidth);
  double squares = 0, length = 0;
  for (int k = 0; k < width; ++k) {
    const double h = p.hidden[static_cast<size_t>(row * width + k)];
    squares += h * h;
    for (int j = 0; j < kKeyWidth; ++j)
      key[static_cast<size_t>(j)] += p.signs[static_cast<size_t>(k / 32 * kKeyWidth + j)] >> (31 - k % 32) & 1 ? -h : h;
  }
  for (int j = 0; j < kKeyWidth; ++j) {
    key[static_cast<size_t>(j)] = key[static_cast<size_t>(j)] / std::sqrt(squares) - p.centre[static_cast<size_t>(j)];
    length += key[static_cast<size_t>(j)] * key[static_cast<size_t>(j)];
  }
  for (double& x : key) x *= 127 / std::sqrt(length);
  return key;
}

void testKeys() {
  std::mt19937 random(1);
  for (const int width : {1, 31, 64, 100, 513, 520, 2048}) {
    const int rows = 3;
    Projected p = projectRandom(random, rows, width);
    const Projected given = p;
    run(p, width);
    for (int r = 0; r < rows; ++r) {
      const std::vector<double> exact = exactKey(given, r, width);
      Key onCpu;
      projectRow(selectIsa(""))(given.hidden.data() + r * width, width, {given.signs.data(), given.centre.data()},
                                onCpu.data());
      const int32_t first = p.slot[static_cast<size_t>(r)] * kSideBytes;
      CHECK(std::equal(onCpu.begin(), onCpu.end(), p.side.begin() + first));
      for (int j = 0; j < kSideBytes; ++j) {
        const int8_t got = p.side[static_cast<size_t>(p.slot[static_cast<size_t>(r)] * kSideBytes + j)];
        CHECK(j < kKeyWidth ? std::abs(got - exact[static_cast<size_t>(j)]) < 0.501 : got == 99);
      }
      // Alone, and under other schedules, a row has the same key.
      forEachSchedule(2, [&] {
        Projected alone = given;
        alone.hidden.assign(given.hidden.begin() + r * width, given.hidden.begin() + (r + 1) * width);
        alone.slot = {given.slot[static_cast<size_t>(r)]};
        run(alone, width);
        const auto at = static_cast<ptrdiff_t>(alone.slot[0]) * kSideBytes;
        CHECK(std::equal(alone.side.begin() + at, alone.side.begin() + at + kKeyWidth, p.side.begin() + at));
      });
    }
  }
  Projected none = projectRandom(random, 1, 64);
  std::fill(none.hidden.begin(), none.hidden.end(), 0.0f);
  run(none, 64);
  for (int j = 0; j < kKeyWidth; ++j) CHECK(none.side[static_cast<size_t>(none.slot[0] * kSideBytes + j)] == 0);
}

// --- places ----------------------------------------------------------------------------------------------------------

/// Texts in one pool, as the device has them, and as segments for the CPU.
struct Texts {
  std::vector<TextSegment> segments;
  std::vector<int32_t> begin;  ///< of each in the pool
  std::vector<int32_t> token;
  std::vector<int8_t> key;
};

/// Few tokens, and passages that several texts have in common, keys and all.
Texts randomTexts(std::mt19937& random, int count, int length) {
  Texts texts;
  std::vector<std::pair<int32_t, Key>> common(60);
  const auto any = [&] {
    std::pair<int32_t, Key> entry;
    entry.first = static_cast<int32_t>(random() % 5);
    for (int8_t& number : entry.second) number = static_cast<int8_t>(static_cast<int>(random() % 100) - 35);
    return entry;
  };
  for (auto& entry : common) entry = any();
  for (int t = 0; t < count; ++t) {
    TextSegment segment(length, KeyForm::whole);
    texts.token.push_back(kBorder);
    texts.key.resize(texts.token.size() * kKeyWidth);
    texts.begin.push_back(static_cast<int32_t>(texts.token.size()));
    while (segment.room() > 0) {
      const bool copies = random() % 3 == 0;
      for (size_t i = random() % common.size(); i < common.size() && segment.room() > 0; ++i) {
        const auto& [token, key] = copies ? common[i] : any();
        segment.setKey(segment.size(), key.data());
        segment.append(token);
        texts.token.push_back(token);
        texts.key.insert(texts.key.end(), key.begin(), key.end());
        if (random() % 20 == 0) break;
      }
    }
    texts.segments.push_back(std::move(segment));
  }
  texts.token.push_back(kBorder);
  texts.key.resize(texts.token.size() * kKeyWidth);
  return texts;
}

/// What the engine would look through for one query: the last position of the first text.
std::vector<int32_t> placesFor(const Texts& texts, int32_t last) {
  std::vector<int32_t> places;
  for (size_t t = 0; t < texts.segments.size(); ++t) {
    const TextSegment& s = texts.segments[t];
    const int32_t token = texts.token[static_cast<size_t>(last)];
    for (int32_t place = s.latest(token); place >= 0 && places.size() < kRecallScan; place = s.before(place))
      if (place > 0 && place + 1 < s.size() && s.data()[place] == token) places.push_back(texts.begin[t] + place);
  }
  return places;
}

void testNearest() {
  std::mt19937 random(2);
  for (int round = 0; round < (longRun() ? 40 : 6); ++round) {
    const int count = 1 + round % 4, length = 40 + round * 211 % 900;
    Texts texts = randomTexts(random, count, length);
    constexpr int kQueries = 5;
    std::vector<int32_t> last, first{0}, place, expected(kQueries * cuda::kVoters, -1);
    std::vector<float> scores(kQueries * cuda::kVoters);
    for (int q = 0; q < kQueries; ++q) {
      // The query is what stands somewhere in the first text: the CPU's context ends there.
      const int32_t at = 1 + static_cast<int32_t>(random() % static_cast<unsigned>(length - 1));
      last.push_back(texts.begin[0] + at);
      const std::vector<int32_t> places = placesFor(texts, last.back());
      place.insert(place.end(), places.begin(), places.end());
      first.push_back(static_cast<int32_t>(place.size()));
      Neighbours neighbours;
      int left = kRecallScan;
      for (const TextSegment& segment : texts.segments)
        left -= neighbours.search(segment, {texts.segments[0].data(), static_cast<size_t>(at) + 1},
                                  texts.segments[0].key(at - 1).data(), left);
      int n = q * cuda::kVoters;
      for (const Neighbour& neighbour : neighbours.best()) {
        const auto t = static_cast<size_t>(neighbour.segment - texts.segments.data());
        expected[static_cast<size_t>(n)] = texts.begin[t] + neighbour.place;
        scores[static_cast<size_t>(n++)] = neighbour.score;
      }
    }
    forEachSchedule(3, [&] {
      std::vector<int32_t> nearest(kQueries * cuda::kVoters, -2);
      std::vector<float> score(kQueries * cuda::kVoters);
      cuda::findNearest({{texts.token.data(), texts.key.data()},
                         last.data(),
                         first.data(),
                         place.data(),
                         nearest.data(),
                         score.data()},
                        kQueries, nullptr);
      CHECK(nearest == expected);
      CHECK(score == scores);
    });
  }
}

// --- votes -----------------------------------------------------------------------------------------------------------

void testVotes() {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> weights(0.01f, 1);
  for (int round = 0; round < (longRun() ? 300 : 40); ++round) {
    std::vector<int32_t> pool;
    const int tokens = 2 + round % 5;
    for (int i = 0; i < 600; ++i)
      pool.push_back(random() % 13 == 0 ? kBorder : static_cast<int32_t>(random() % static_cast<unsigned>(tokens)));
    pool.push_back(kBorder);
    constexpr int kQueries = 3;
    const int most = 1 + round % cuda::kMostNodes;
    std::vector<int32_t> nearest(kQueries * cuda::kVoters, -1), depth(kQueries), count(kQueries, -1);
    std::vector<float> weight(kQueries * cuda::kVoters);
    std::vector<cuda::VoteNode> nodes(static_cast<size_t>(kQueries * most));
    for (int q = 0; q < kQueries; ++q) {
      depth[static_cast<size_t>(q)] = 1 + static_cast<int32_t>(random() % 9);
      for (int v = 0; v < static_cast<int>(random() % 33); ++v) {
        nearest[static_cast<size_t>(q * cuda::kVoters + v)] = static_cast<int32_t>(random() % 600);
        weight[static_cast<size_t>(q * cuda::kVoters + v)] = weights(random);
      }
    }
    cuda::growVotes(
        {{pool.data(), nullptr}, nearest.data(), weight.data(), depth.data(), most, nodes.data(), count.data()},
        kQueries, nullptr);
    for (int q = 0; q < kQueries; ++q) {
      VoteTree tree(kRecallRules);
      Voters voters = tree.room(cuda::kVoters);
      for (int v = 0; v < cuda::kVoters; ++v) {
        const int32_t place = nearest[static_cast<size_t>(q * cuda::kVoters + v)];
        if (place >= 0)
          voters.room[static_cast<size_t>(voters.count++)] = {pool.data() + place + 1, pool.data() + pool.size(),
                                                              weight[static_cast<size_t>(q * cuda::kVoters + v)]};
      }
      tree.branch(-1, 1, 1, tree.commit(voters));
      std::vector<DraftNode> expected(static_cast<size_t>(most));
      const int n = tree.grow(depth[static_cast<size_t>(q)], expected, [](std::span<const DraftNode>) {
        return VoteTree::Range{0, 0};
      });
      CHECK(count[static_cast<size_t>(q)] == n);
      for (int i = 0; i < std::min(n, count[static_cast<size_t>(q)]); ++i) {
        const cuda::VoteNode& got = nodes[static_cast<size_t>(q * most + i)];
        const DraftNode& node = expected[static_cast<size_t>(i)];
        CHECK(got.token == node.token && got.parent == node.parent && got.depth == node.depth);
        CHECK(std::abs(got.confidence - node.confidence) < 1e-5f);
      }
    }
  }
}

}  // namespace
}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  testKeys();
  testNearest();
  testVotes();
  return finish("recall");
}
