// Matrices of Llama-3-8B, Qwen3-32B and DeepSeek-V3, [N, K], and the numbers of tokens that they meet.
#pragma once
#include <cstdint>

namespace foretoken::bench {

struct Shape {
  int64_t n, k;
};

constexpr Shape kShapes[] = {
    {6144, 4096},  {4096, 4096},  {28672, 4096}, {4096, 14336},  // Llama-3-8B: qkv, output, gate and up, down
    {10240, 5120}, {5120, 8192},  {51200, 5120}, {5120, 25600},  // Qwen3-32B
    {24576, 1536}, {7168, 16384}, {36864, 7168}, {7168, 18432},  // DeepSeek-V3: queries, output, dense MLP
    {4096, 7168},  {7168, 2048},                                 // and an expert
};
constexpr int kSkinny[] = {1, 2, 4, 8, 16, 32, 64, 128};
constexpr int kPrefill = 4096;

}  // namespace foretoken::bench
