// Atomic operations. Only one thread runs at a time, so plain arithmetic is atomic; schedules decide the order. A
// compare-and-swap that fails lets others go first, because it usually stands in a loop.
#pragma once
#include "cuda/simt/block.h"

namespace foretoken::simt {

template <class T, class Update>
T atomically(T* address, Update update, const Where& where) {
  block->maybePoll("an atomic operation", where);
  const T before = *address;
  *address = update(before);
  return before;
}

}  // namespace foretoken::simt

#define FORETOKEN_SIMT_ATOMIC(name, expression)                              \
  template <class T>                                                         \
  T name(T* address, std::type_identity_t<T> value,                          \
         foretoken::simt::Where where = foretoken::simt::Where::current()) { \
    return foretoken::simt::atomically(                                      \
        address, [&](T old) { return static_cast<T>(expression); }, where);  \
  }
FORETOKEN_SIMT_ATOMIC(atomicAdd, old + value)
FORETOKEN_SIMT_ATOMIC(atomicSub, old - value)
FORETOKEN_SIMT_ATOMIC(atomicMax, old < value ? value : old)
FORETOKEN_SIMT_ATOMIC(atomicMin, value < old ? value : old)
FORETOKEN_SIMT_ATOMIC(atomicExch, ((void)old, value))
FORETOKEN_SIMT_ATOMIC(atomicOr, old | value)
FORETOKEN_SIMT_ATOMIC(atomicAnd, old& value)
FORETOKEN_SIMT_ATOMIC(atomicXor, old ^ value)
FORETOKEN_SIMT_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef FORETOKEN_SIMT_ATOMIC

template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value,
            foretoken::simt::Where where = foretoken::simt::Where::current()) {
  const T before = *address;
  if (before == expected) {
    *address = value;
  } else {
    foretoken::simt::block->poll("a compare-and-swap", where);
  }
  return before;
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned, foretoken::simt::Where where = foretoken::simt::Where::current()) {
  foretoken::simt::block->poll("__nanosleep", where);
}
