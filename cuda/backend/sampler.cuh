// Draws tokens for a backend: rows go to the device, verification's kernels run, tokens come back, with
// log-probabilities where somebody asks for them.
#pragma once
#include <algorithm>
#include <span>
#include <type_traits>
#include <vector>

#include "backend.h"
#include "common/error.h"
#include "cuda/backend/uploads.cuh"
#include "cuda/step/rows.cuh"
#include "cuda/verify/batch.h"
#include "cuda/verify/likeliest.cuh"
#include "cuda/verify/verify.cuh"

namespace foretoken::cuda {

extern template cudaError_t drawRows(const VerifyArgs<float>&, DrawKinds, cudaStream_t);
extern template cudaError_t findLikeliest(const LikeliestArgs<float>&, int, cudaStream_t);

class Sampler {
 public:
  /// Logits are [.][stride]. The results are there when the stream has come to its end.
  void ask(const float* logits, int64_t stride, int vocabulary, std::span<const SampleRow> rows, Stream& stream) {
    if (stride % kAligned != 0) logits = align(logits, stride, rows, stream);
    stride = roundUp(stride, kAligned);
    batch_.clear();
    for (const SampleRow& row : rows) batch_.add(row);
    send(stream);
    draw(logits, stride, vocabulary, stream);
    if (const int count = likeliestOf(rows); count > 0) rankTokens(logits, stride, vocabulary, count, stream);
    fetch(tokensOut_, drawn_, rows.size() * sizeof(int32_t), stream);
  }

  /// What was asked for.
  void take(std::span<const SampleRow> rows, std::span<SampleResult> out) const {
    const int count = likeliestOf(rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      out[i].token = tokensOut_.as<int32_t>()[i];
      if (rows[i].logprobs >= 0) takeLogprobs(i, count, std::min(rows[i].logprobs, kMaxLogprobs), out[i]);
    }
  }

 private:
  static constexpr int kLists = 5;
  static constexpr int64_t kAligned = 4;  ///< rows begin at multiples of so many logits

  /// How many likeliest tokens of every row are ranked; 0 = nobody wants a log-probability.
  static int likeliestOf(std::span<const SampleRow> rows) {
    int count = 0;
    for (const SampleRow& row : rows)
      if (row.logprobs >= 0) count = std::max({count, 1, std::min(row.logprobs, kMaxLogprobs)});
    return count;
  }

  const float* align(const float* logits, int64_t width, std::span<const SampleRow> rows, Stream& stream) {
    int32_t last = 0;
    for (const SampleRow& row : rows) last = std::max(last, row.logitRow);
    const int64_t stride = roundUp(width, kAligned);
    reserve(aligned_, (last + 1) * stride * sizeof(float));
    const dim3 grid(static_cast<unsigned>(ceilDiv<int64_t>(width, kRowThreads)), static_cast<unsigned>(last + 1));
    require(launch(spreadRows, grid, dim3(kRowThreads), 0, stream.get(), logits, static_cast<int>(width),
                   aligned_.as<float>(), static_cast<int>(stride)),
            "aligning logits");
    return aligned_.as<float>();
  }

  template <class Memory>
  static void reserve(Memory& memory, size_t bytes) {
    if (memory.size() < bytes) memory.renew(std::max(bytes, 2 * memory.size()));
  }

  /// The batch's arrays as one piece.
  void send(Stream& stream) {
    logitRow_.clear();
    for (const DrawRow& row : batch_.rows) logitRow_.push_back(row.logitRow);
    const std::span<const std::byte> lists[kLists] = {
        std::as_bytes(std::span(batch_.rows)), std::as_bytes(std::span(batch_.tokens)),
        std::as_bytes(std::span(batch_.biasToken)), std::as_bytes(std::span(batch_.biasValue)),
        std::as_bytes(std::span(logitRow_))};
    size_t at = 0;
    for (int i = 0; i < kLists; ++i) {
      begins_[i] = at;
      at += roundUp(lists[i].size(), size_t{16});
    }
    piece_.resize(at);
    for (int i = 0; i < kLists; ++i)
      std::copy(lists[i].begin(), lists[i].end(), reinterpret_cast<std::byte*>(piece_.data()) + begins_[i]);
    upload_.reserve(piece_.size(), stream);
    upload_.send(piece_.data(), piece_.size(), stream);
  }

  void draw(const float* logits, int64_t stride, int vocabulary, Stream& stream) {
    if (vocabulary > kMostTokens) throw Error("INTERNAL_ERROR", "more tokens than kernels draw from");
    VerifyArgs<float> args{};
    args.logits = logits;
    args.stride = stride;
    args.vocabulary = vocabulary;
    args.rows = static_cast<int32_t>(batch_.rows.size());
    const uint8_t* const sent = upload_.as<uint8_t>();
    args.row = reinterpret_cast<const DrawRow*>(sent + begins_[0]);
    args.tokens = reinterpret_cast<const int32_t*>(sent + begins_[1]);
    args.biasToken = reinterpret_cast<const int32_t*>(sent + begins_[2]);
    args.biasValue = reinterpret_cast<const float*>(sent + begins_[3]);
    reserve(drawn_, batch_.rows.size() * sizeof(int32_t));
    args.drawn = drawn_.as<int32_t>();
    reserve(scratch_, placeScratch(args, batch_.tableEntries, nullptr));
    placeScratch(args, batch_.tableEntries, scratch_.data());
    stream.clear(args.arrived, batch_.rows.size() * sizeof(*args.arrived));
    require(drawRows(args, batch_.kinds, stream.get()), "drawing tokens");
  }

  /// The `count` likeliest tokens of every row of the batch, and how likely the drawn one was.
  void rankTokens(const float* logits, int64_t stride, int vocabulary, int count, Stream& stream) {
    const size_t rows = batch_.rows.size(), chunks = ceilDiv(vocabulary, kChunk);
    LikeliestArgs<float> args{};
    args.logits = logits, args.stride = stride, args.vocabulary = vocabulary, args.count = count;
    args.logitRow = reinterpret_cast<const int32_t*>(upload_.as<uint8_t>() + begins_[4]);
    args.drawn = drawn_.as<int32_t>();
    const auto place = [](DeviceMemory& memory, auto*& pointer, size_t numbers) {
      reserve(memory, numbers * sizeof *pointer);
      pointer = memory.as<std::remove_reference_t<decltype(*pointer)>>();
    };
    place(rankedToken_, args.token, rows * count);
    place(rankedLogprob_, args.logprob, rows * count);
    place(drawnLogprob_, args.drawnLogprob, rows);
    place(arrived_, args.arrived, rows);
    place(best_, args.best, rows * chunks * count);
    place(sum_, args.sum, rows * chunks);
    stream.clear(args.arrived, rows * sizeof *args.arrived);
    require(findLikeliest(args, static_cast<int>(rows), stream.get()), "ranking tokens");
    fetch(rankedTokenOut_, rankedToken_, rows * count * sizeof(int32_t), stream);
    fetch(rankedLogprobOut_, rankedLogprob_, rows * count * sizeof(float), stream);
    fetch(drawnLogprobOut_, drawnLogprob_, rows * sizeof(float), stream);
  }
  static void fetch(PinnedMemory& to, const DeviceMemory& from, size_t bytes, Stream& stream) {
    reserve(to, bytes);
    stream.copyOut(to.data(), from.data(), bytes);
  }
  void takeLogprobs(size_t row, int count, int wanted, SampleResult& result) const {
    result.logprob = drawnLogprobOut_.as<float>()[row];
    std::copy_n(rankedTokenOut_.as<int32_t>() + row * count, wanted, result.topToken);
    std::copy_n(rankedLogprobOut_.as<float>() + row * count, wanted, result.topLogprob);
  }

  DrawBatch batch_;
  std::vector<uint8_t> piece_;
  std::vector<int32_t> logitRow_;
  size_t begins_[kLists] = {};
  Upload upload_;
  DeviceMemory aligned_, drawn_, scratch_;
  DeviceMemory rankedToken_, rankedLogprob_, drawnLogprob_, arrived_, best_, sum_;
  PinnedMemory tokensOut_, rankedTokenOut_, rankedLogprobOut_, drawnLogprobOut_;
};

}  // namespace foretoken::cuda
