// Barriers of a block: __syncthreads and its counting forms. Named barriers are in cuda/common/device.cuh.
#pragma once
#include "cuda/simt/block.h"

inline void __syncthreads(foretoken::simt::Where where = foretoken::simt::Where::current()) {
  foretoken::simt::block->synchronize(0, 0, 0, where);
}
inline int __syncthreads_count(int predicate, foretoken::simt::Where where = foretoken::simt::Where::current()) {
  return foretoken::simt::block->synchronize(0, 0, predicate != 0, where);
}
inline int __syncthreads_or(int predicate, foretoken::simt::Where where = foretoken::simt::Where::current()) {
  return __syncthreads_count(predicate, where) != 0;
}
inline int __syncthreads_and(int predicate, foretoken::simt::Where where = foretoken::simt::Where::current()) {
  return __syncthreads_count(predicate == 0, where) == 0;
}
