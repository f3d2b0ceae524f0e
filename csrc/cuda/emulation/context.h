// Saved places of execution and the switch between them. On x86-64 Linux the switch is six pushes
// and pops; swapcontext enters the kernel each time, is six times as slow, and under
// AddressSanitizer its interceptor forgets what the sanitizer knew about the stack.
#pragma once

#include <cstddef>

#if defined(__x86_64__) && defined(__linux__)
#define NORMDROP_EMULATION_SWITCH_IN_ASSEMBLY 1
#else
#include <ucontext.h>
#endif

namespace normdrop::NORMDROP_DEVICE::emulation {

#if defined(NORMDROP_EMULATION_SWITCH_IN_ASSEMBLY)
using Context = void*;  // the stack pointer, below the saved registers
#else
using Context = ucontext_t;
#endif

// The first switch to the context calls entry(), which must not return.
void make_context(Context& context, void* stack, std::size_t stack_bytes, void (*entry)());
void switch_context(Context& from, Context& to);

}  // namespace normdrop::NORMDROP_DEVICE::emulation
