#include "learn/replay.h"

#include <algorithm>
#include <cmath>

#include "quant/float_codecs.h"

namespace foretoken::learn {
namespace {

size_t bytesOf(const Lesson& lesson) { return lesson.text.token.size() * sizeof(int32_t) + lesson.slots.bytes(); }
size_t keptOf(const Lesson& lesson) { return lesson.text.kept.size() * sizeof(uint16_t); }

}  // namespace

bool expand(const VerifiedText& text, int64_t fused, const OutputNorm& norm, train::TrainSequence& out) {
  const auto width = static_cast<int64_t>(norm.scale.size());
  const auto length = static_cast<int64_t>(text.token.size());
  out.token = text.token, out.first = text.first, out.answer = text.answer;
  out.features.assign(fused, train::Floats(length * width));
  out.state.resize(length * width);
  const uint16_t* from = text.kept.data();
  bool finite = true;
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t l = 0; l <= fused; ++l) {
      float* const row = (l < fused ? out.features[l].data() : out.state.data()) + i * width;
      double squares = 0;
      for (int64_t c = 0; c < width; ++c) {
        row[c] = bf16ToFloat(*from++);
        squares += static_cast<double>(row[c]) * row[c];
      }
      finite = finite && std::isfinite(squares);
      if (l < fused) continue;
      const auto inverse = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(width) + norm.epsilon));
      for (int64_t c = 0; c < width; ++c) row[c] *= inverse * norm.scale[c];
    }
  }
  return finite;
}

void Replay::add(Lesson lesson) {
  bytes_ += bytesOf(lesson), keptBytes_ += keptOf(lesson);
  positions_ += static_cast<int64_t>(lesson.text.token.size());
  ++withSlots_, whole_ += keptOf(lesson) > 0;
  lessons_.push_back(std::move(lesson));
  while (keptBytes_ > keptBudget_ && whole_ > 1) {
    Lesson& oldest = lessons_[lessons_.size() - whole_--];
    keptBytes_ -= keptOf(oldest);
    oldest.text.kept = {};
  }
  while (bytes_ > budget_ && lessons_.size() > 1) dropOldest();
}

void Replay::dropOldest() {
  const Lesson& oldest = lessons_.front();
  bytes_ -= bytesOf(oldest), keptBytes_ -= keptOf(oldest);
  positions_ -= static_cast<int64_t>(oldest.text.token.size());
  whole_ -= keptOf(oldest) > 0;
  lessons_.pop_front();
  withSlots_ = std::min(withSlots_, lessons_.size());
}

void Replay::dropSlots() {
  for (Lesson& lesson : lessons_) {
    bytes_ -= lesson.slots.bytes();
    lesson.slots = {};
  }
  withSlots_ = 0;
}

const Lesson& Replay::newest(double noise, size_t count) const {
  const auto back = static_cast<size_t>(static_cast<double>(count) * noise * noise);
  return lessons_[lessons_.size() - 1 - std::min(back, count - 1)];
}

}  // namespace foretoken::learn
