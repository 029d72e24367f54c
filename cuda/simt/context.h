// Changing stacks: saves what a called function must keep, and nothing else. No system call, as swapcontext makes two.
#pragma once
#include <cstring>

extern "C" void foretoken_simt_switch(void** saved, void* next);

#if defined(__x86_64__)
// Leaves by a jump, not by ret: the processor's stack of return addresses would always be wrong here.
asm(R"(
  .section .text.foretoken_simt_switch,"axG",@progbits,foretoken_simt_switch,comdat
  .p2align 4
  .weak foretoken_simt_switch
  .type foretoken_simt_switch,@function
foretoken_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
  .size foretoken_simt_switch, .-foretoken_simt_switch
  .text
)");
#elif defined(__aarch64__)
asm(R"(
  .section .text.foretoken_simt_switch,"axG",@progbits,foretoken_simt_switch,comdat
  .p2align 4
  .weak foretoken_simt_switch
  .type foretoken_simt_switch,@function
foretoken_simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size foretoken_simt_switch, .-foretoken_simt_switch
  .text
)");
#else
#error "cuda/simt/context.h has no context switch for this processor"
#endif

namespace foretoken::simt {

/// A stack that, when switched to, calls `entry`, which must never return.
inline void* freshContext(unsigned char* top, void (*entry)()) {
#if defined(__x86_64__)
  // The called function expects a stack as after a call: 8 past a multiple of 16.
  constexpr int kSlots = 8, kEntrySlot = 6;
#else
  constexpr int kSlots = 20, kEntrySlot = 11;
#endif
  void* slots[kSlots] = {};
  slots[kEntrySlot] = reinterpret_cast<void*>(entry);
  unsigned char* bottom = top - sizeof slots;
  std::memcpy(bottom, slots, sizeof slots);
  return bottom;
}

}  // namespace foretoken::simt
