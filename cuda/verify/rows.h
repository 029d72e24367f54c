// What verification is given and what it works in: plain structures that host and device share.
#pragma once
#include <cstdint>

namespace foretoken::cuda {

/// How one row's token is drawn: SampleRow (native/backend.h) with indices into arrays on the device for its pointers.
struct DrawRow {
  uint64_t seed;
  int64_t position;
  int32_t logitRow;
  float temperature;
  int32_t topK;
  float topP, minP;
  float repetitionPenalty, presencePenalty, frequencyPenalty;
  int32_t history, historyLength;    ///< VerifyArgs::tokens[history ..]
  int32_t history2, history2Length;  ///< a draft path
  int32_t bias, biasCount;           ///< VerifyArgs::biasToken and biasValue
  /// Of its own in VerifyArgs::counted and, half as many, overrideToken and overrideValue: a power of two, at least
  /// twice the tokens of history, path and bias together. 0 where neither penalties nor bias apply.
  int32_t table, tableSize;
};

/// Tokens that one warp looks at, and one block.
constexpr int kChunk = 512;
constexpr int kDrawWarps = 8;
constexpr int kDrawThreads = 32 * kDrawWarps;
/// Blocks that a multiprocessor should hold at once: what registers must be enough for.
constexpr int kDrawBlocks = 3;
/// So that a token's index fits a place in the order (order.cuh), and a row's mass 64 bits.
constexpr int kMostTokens = 1 << 19;
constexpr int kMostChunks = kMostTokens / kChunk;
/// Buckets of likelihood that top-k and top-p are found by.
constexpr int kBuckets = 256;
/// Tokens of a row that are kept in a list while its cut is searched; where there are more the row is read again.
constexpr int kListed = 4096;

/// An entry of the table that counts a row's tokens: open addressing, token + 1, 0 = free.
struct Counted {
  int32_t token;
  int32_t count;
};

/// What is known of a row between the kernels.
struct DrawState {
  uint64_t cut;                    ///< the last place in the order that is kept; 0 = all
  unsigned long long massOutside;  ///< in the buckets before kBucket; all where top-k cuts nothing
  unsigned long long massBefore;   ///< in the buckets before pFirst
  float top, factor;               ///< the greatest logit; log2(e) / temperature
  float range, bucketsPerBit;      ///< binary logarithms below the top that buckets cover
  int32_t kBucket, kNeed;  ///< the bucket of the k-th token, and which one in it that is; -1 = top-k cuts nothing
  int32_t pFirst, pLast;   ///< buckets in one of which the mass of top-p is reached; -1 = it cuts nothing
  uint32_t listed;
  int32_t drawn, cutting;  ///< flags: the token is there; top-k or top-p may cut
};

/// A draft tree to walk: rows [first[s], first[s + 1]) of sequence s, parents before children, the root first.
struct DraftTrees {
  const int32_t* first;   ///< [sequences + 1]
  const int32_t* parent;  ///< [rows] a row, -1 for roots
  const int32_t* token;   ///< [rows] drafted tokens; roots' don't matter
};

/// Of a sequence: `count` tokens of the target, of which all but the last were drafted, and the rows that say them.
struct Walked {
  int32_t* count;  ///< [sequences]
  int32_t* token;  ///< [sequences][depth]
  int32_t* row;    ///< [sequences][depth]
  int32_t depth;   ///< at least the rows of the longest path
};

/// Logits are bf16 (as bits) or fp32.
template <class Logit>
struct VerifyArgs {
  const Logit* logits;  ///< [.][stride], rows at multiples of 16 bytes
  int64_t stride;       ///< a multiple of 16 bytes
  int32_t vocabulary;   ///< at most kMostTokens
  int32_t rows;
  const DrawRow* row;     ///< [rows]
  const int32_t* tokens;  ///< histories
  const int32_t* biasToken;
  const float* biasValue;
  int32_t* drawn;  ///< [rows] the tokens

  // Scratch. `arrived` is 0 before the first call and after every one.
  uint32_t* arrived;               ///< [rows]
  DrawState* state;                ///< [rows]
  uint64_t* chunkTop;              ///< [rows][chunks] the first place of each chunk in the order
  unsigned long long* chunkMass;   ///< [rows][chunks]
  uint32_t* bucketCount;           ///< [rows][kBuckets]
  unsigned long long* bucketMass;  ///< [rows][kBuckets]
  uint64_t* list;                  ///< [rows][kListed]
  Counted* counted;
  int32_t* overrideBegin;  ///< [rows][chunks + 1] from DrawRow::table / 2 on
  int32_t* overrideToken;
  float* overrideValue;
};

}  // namespace foretoken::cuda
