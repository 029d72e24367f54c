// Trained heads as safetensors files, bound to the target that they were trained for.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/safetensors.h"
#include "quant/format.h"
#include "train/block_head.h"

namespace foretoken::train {

/// What a head was trained for: with anything else its weights mean nothing.
struct HeadBinding {
  std::string model;             ///< the target's source hash
  std::string tokenizer;         ///< hash of its tokenizer
  std::vector<int> fusedLayers;  ///< as in Capture

  bool operator==(const HeadBinding&) const = default;
};

struct LoadedHead : HeadNumbers {
  BlockHeadShape shape{};
  HeadBinding binding;
};

/// Writes weights as e4m3 (matrices, with a scale for each row), bf16 or f32, whole or not at all. Throws
/// HEAD_NOT_FINITE, WRITE_FAILED.
void saveHead(const std::string& path, const BlockHead&, const HeadNumbers&, const HeadBinding&, FileType type);

/// Throws HEAD_INVALID where the file is no head, lacks something or holds NaN or infinity, HEAD_MISMATCH where it
/// belongs to another target (an empty tokenizer hash or list of layers matches any), and what reading files throws.
LoadedHead loadHead(const std::string& path, const HeadBinding& expected);
/// The same of a file that is open; `path` is what errors call it.
LoadedHead readHead(const SafetensorsFile&, const std::string& path, const HeadBinding& expected);

/// A number as metadata, without loss.
std::string exactText(double value);
/// The whole number that a text says, from `least` to `most`; none where it says anything else.
std::optional<int64_t> wholeNumber(std::string_view text, int64_t least, int64_t most);

/// Throws HEAD_NOT_FINITE, naming the tensor, where a weight is NaN or infinite.
void requireFinite(const Parameters&, const float* weights, const std::string& what);

}  // namespace foretoken::train
