#include "cuda/emulation/context.h"

#include <cstdint>

namespace normdrop::NORMDROP_DEVICE::emulation {

#if defined(NORMDROP_EMULATION_SWITCH_IN_ASSEMBLY)

extern "C" void normdrop_emulation_switch(void** from, void* to);

// rbx, rbp and r12 to r15 are what a callee must keep. The floating-point environment stays as it
// is: it belongs to the caller of launch(), not to a fiber.
asm(R"(
.pushsection .text
.p2align 4
.type normdrop_emulation_switch, @function
normdrop_emulation_switch:
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
  ret
.size normdrop_emulation_switch, .-normdrop_emulation_switch
.popsection
)");

void make_context(Context& context, void* stack, std::size_t stack_bytes, void (*entry)()) {
  constexpr int saved_registers = 6;
  auto top = reinterpret_cast<std::uintptr_t>(stack) + stack_bytes;
  auto* slot = reinterpret_cast<std::uintptr_t*>(top & ~std::uintptr_t{15});
  *--slot = 0;  // entry's return address: backtraces and exceptions end here
  *--slot = reinterpret_cast<std::uintptr_t>(entry);
  for (int i = 0; i < saved_registers; ++i) *--slot = 0;
  context = slot;
}

void switch_context(Context& from, Context& to) { normdrop_emulation_switch(&from, to); }

#else

void make_context(Context& context, void* stack, std::size_t stack_bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = stack_bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

#endif

}  // namespace normdrop::NORMDROP_DEVICE::emulation
