// Jobs that use the model outside of any sequence: prices for the controller, teacher-forced scores for the bench.
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "engine/core.h"

namespace foretoken {
namespace {

constexpr int kMeasuredSingly = 16;  ///< every width up to here is measured, then some, and the rest interpolated
constexpr int kUsual = 2;            ///< positions that a draft of the head makes keys of where it is always asked
constexpr int kMany = 64;            ///< those of a piece of a prompt

/// Pages for the length of a job.
class BorrowedPages {
 public:
  BorrowedPages(PagePool& pool, int32_t positions) : pool_(pool), table_(positions) {
    if (table_.reserve(pool, positions)) return;
    table_.clear(pool);
    throw Error("KV_EXHAUSTED",
                "running sequences leave no KV pages for " + std::to_string(positions) + " tokens; try again later");
  }
  ~BorrowedPages() { table_.clear(pool_); }
  BorrowedPages(const BorrowedPages&) = delete;
  BorrowedPages& operator=(const BorrowedPages&) = delete;
  const PageTable& table() const { return table_; }

 private:
  PagePool& pool_;
  PageTable table_;
};

std::vector<int> measuredWidths(int rows) {
  std::vector<int> widths;
  for (int width = 1; width <= std::min(rows, kMeasuredSingly); ++width) widths.push_back(width);
  for (int width = 2 * kMeasuredSingly; width < rows; width *= 2) widths.push_back(width);
  if (rows > kMeasuredSingly) widths.push_back(rows);
  return widths;
}

void interpolate(const std::vector<int>& widths, std::vector<float>& seconds) {
  for (size_t i = 1; i < widths.size(); ++i) {
    const int from = widths[i - 1], to = widths[i];
    for (int width = from + 1; width < to; ++width) {
      const float part = static_cast<float>(width - from) / static_cast<float>(to - from);
      seconds[width - 1] = seconds[from - 1] + part * (seconds[to - 1] - seconds[from - 1]);
    }
  }
}

/// log(sum(exp(x))), with its argmax. Four partial sums; double because 100,000 terms add up.
double logSumExp(const float* x, int count, int32_t* argmax) {
  *argmax = static_cast<int32_t>(std::max_element(x, x + count) - x);
  const float top = x[*argmax];
  double sums[4] = {0, 0, 0, 0};
  for (int i = 0; i < count; ++i) sums[i & 3] += std::exp(x[i] - top);
  return top + std::log(sums[0] + sums[1] + sums[2] + sums[3]);
}

}  // namespace

/// The least of `repeats` times counts: whatever else the machine does can only add to it.
Profile EngineCore::profile(int rows, int context, int repeats) {
  rows = std::clamp(rows, 1, std::min(kMaxDraftRows, contextLength_));
  context = std::clamp(context, 0, contextLength_ - rows);
  const BorrowedPages pages(pool_, context + rows);
  Profile result{std::vector<float>(rows, std::numeric_limits<float>::infinity()),
                 std::vector<float>(kDrafterCount, 0)};
  const std::vector<int> widths = measuredWidths(rows);
  const int positions = head_ ? std::max(0, context - 1) : 0;
  const int usual = std::min(kUsual, positions), many = std::min(kMany, positions);
  float head = positions > 0 ? std::numeric_limits<float>::infinity() : 0, further = head;
  for (int repeat = 0; repeat < std::max(repeats, 1); ++repeat) {
    for (const int width : widths) {
      float& best = result.passSeconds[width - 1];
      best = std::min(best, timePass(pages.table(), context, width));
    }
    if (positions == 0) continue;
    head = std::min(head, timeHead(pages.table(), context, positions - usual));
    further = std::min(further, timeHead(pages.table(), context, positions - many));
  }
  interpolate(widths, result.passSeconds);
  const float suffix = timeDraft(DrafterId::suffix), recall = timeDraft(DrafterId::recall);
  result.draftSeconds = {0, suffix, suffix, suffix, recall, head, recall + suffix};
  result.headPositionSeconds = std::max(0.0f, further - head) / static_cast<float>(std::max(1, many - usual));
  return result;
}

void EngineCore::runPasses(int rows, int context, int repeats) {
  rows = std::clamp(rows, 1, std::min(kMaxDraftRows, contextLength_));
  context = std::clamp(context, 0, contextLength_ - rows);
  const BorrowedPages pages(pool_, context + rows);
  for (int repeat = 0; repeat < repeats; ++repeat) timePass(pages.table(), context, rows);
}

float EngineCore::timePass(const PageTable& table, int context, int rows) {
  pass_.begin(/*prompts=*/false);
  sampleRows_.clear();
  const int32_t sequence = pass_.addSequence(table);
  for (int32_t i = 0; i < rows; ++i) {
    pass_.addInPlace(sequence, (context + i) % vocabulary_, context + i, table.slot(context + i), true);
    SampleRow row{};
    row.logitRow = i;
    row.position = context + i + 1;
    sampleRows_.push_back(row);
  }
  const auto begin = Clock::now();
  versions_.back()->forward(pass_.finish(), nullptr);
  backend_.sample(versions_.back()->logits(), vocabulary_, sampleRows_, std::span(results_).first(rows));
  return std::chrono::duration<float>(Clock::now() - begin).count();
}

/// Drafts from a text of a thousand tokens over an alphabet so small that matches abound.
float EngineCore::timeDraft(DrafterId which) const {
  constexpr int kLength = 1024, kCalls = 32;
  TextSegment text(kLength, KeyForm::whole);
  std::vector<int32_t> tokens;
  std::array<int8_t, kKeyWidth> key;
  uint32_t state = 1;
  const auto next = [&] { return state = state * 1664525u + 1013904223u; };
  for (int i = 0; i < kLength; ++i) {
    for (int8_t& number : key) number = static_cast<int8_t>(static_cast<int32_t>(next()) >> 27);
    tokens.push_back(static_cast<int32_t>(next() >> 27));
    text.setKey(i, key.data());
    text.append(tokens.back());
  }
  SuffixDrafter suffix(&text);
  RecallDrafter recall(&text);
  Drafter& drafter = which == DrafterId::recall ? static_cast<Drafter&>(recall) : suffix;
  std::array<DraftNode, kMaxDraftNodes> nodes;
  const auto begin = Clock::now();
  for (int call = 0; call < kCalls; ++call) {
    drafter.draft({std::span<const int32_t>(tokens).first(tokens.size() - call), 0, 16}, nodes);
  }
  return std::chrono::duration<float>(Clock::now() - begin).count() / kCalls;
}

/// One draft that knows the keys of so many positions. Those of the usual number right after a pass, as in a round: its
/// weights are no longer near.
float EngineCore::timeHead(const PageTable& table, int context, int known) {
  const std::vector<int32_t> tokens(context, 0);
  std::array<DraftNode, kMaxDraftNodes> nodes;
  HeadProgress progress = head_->known(known);
  HeadAsk ask{tokens, &table, &progress, kMaxDraftNodes, nodes};
  for (int p = known; p < context; ++p) head_->written(table.slot(p));
  const auto begin = Clock::now();
  head_->draft(*versions_.back(), {&ask, 1});
  return std::chrono::duration<float>(Clock::now() - begin).count();
}

/// Keys measure how states differ, so what all of them have in common is taken off: the mean over a text of random
/// tokens, which depends on the model alone.
void EngineCore::centreKeys() {
  constexpr int kTokens = 128;
  const ModelConfig& config = versions_.back()->config();
  keys_.emplace(config);
  capture_.keyLayer = keys_->layer();
  const int rows = std::min({kTokens, contextLength_, options_.maxRows});
  const BorrowedPages pages(pool_, rows);
  std::vector<float> hidden(static_cast<size_t>(rows) * config.width);
  const Capture capture{.layers = {keys_->layer()}, .out = hidden.data()};
  pass_.begin(/*prompts=*/true);
  const int32_t sequence = pass_.addSequence(pages.table());
  uint32_t state = 1;
  for (int32_t p = 0; p < rows; ++p) {
    state = state * 1664525u + 1013904223u;
    const auto token = static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocabulary_));
    pass_.addInPlace(sequence, token, p, pages.table().slot(p), false);
  }
  versions_.back()->forward(pass_.finish(), &capture);
  keys_->centre(hidden, rows);
}

Score EngineCore::score(const std::vector<int32_t>& tokens) {
  if (tokens.size() < 2 || tokens.size() > static_cast<size_t>(contextLength_)) {
    throw Error("INVALID_REQUEST",
                "score takes 2 to " + std::to_string(contextLength_) + " tokens, got " + std::to_string(tokens.size()));
  }
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocabulary_)
      throw Error("INVALID_REQUEST", "token " + std::to_string(token) + " is not in the vocabulary");
  }
  const auto count = static_cast<int32_t>(tokens.size()) - 1;
  const BorrowedPages pages(pool_, count);
  Score result{std::vector<float>(count), std::vector<int32_t>(count)};
  const auto most = std::min<int32_t>(static_cast<int32_t>(results_.size()), options_.maxRows);
  for (int32_t first = 0; first < count; first += most) {
    const int32_t rows = std::min(most, count - first);
    pass_.begin(/*prompts=*/false);  // as it would be decoded
    const int32_t sequence = pass_.addSequence(pages.table());
    for (int32_t p = first; p < first + rows; ++p) {
      pass_.addInPlace(sequence, tokens[p], p, pages.table().slot(p), true);
    }
    versions_.back()->forward(pass_.finish(), nullptr);
    const float* logits = backend_.read(versions_.back()->logits(), rows);
    for (int32_t i = 0; i < rows; ++i) {
      const float* row = logits + static_cast<int64_t>(i) * vocabulary_;
      const double total = logSumExp(row, vocabulary_, &result.argmax[first + i]);
      result.logprob[first + i] = static_cast<float>(row[tokens[first + i + 1]] - total);
    }
  }
  return result;
}

}  // namespace foretoken
