#include "learn/replay.h"

#include <algorithm>
#include <cmath>

#include "quant/float_codecs.h"

namespace foretoken::learn {
namespace {

size_t bytesOf(const Lesson& lesson) {
  return lesson.text.kept.size() * sizeof(uint16_t) + lesson.text.token.size() * sizeof(int32_t) + lesson.slots.bytes();
}

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
  bytes_ += bytesOf(lesson);
  positions_ += static_cast<int64_t>(lesson.text.token.size());
  lessons_.push_back(std::move(lesson));
  while (bytes_ > budget_ && lessons_.size() > 1) {
    bytes_ -= bytesOf(lessons_.front());
    positions_ -= static_cast<int64_t>(lessons_.front().text.token.size());
    lessons_.pop_front();
  }
}

const Lesson& Replay::pick(double noise) const {
  const auto count = static_cast<double>(lessons_.size());
  const auto back = static_cast<size_t>(count * noise * noise);
  return lessons_[lessons_.size() - 1 - std::min(back, lessons_.size() - 1)];
}

}  // namespace foretoken::learn
