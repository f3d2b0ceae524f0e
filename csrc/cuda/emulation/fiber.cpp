#include "cuda/emulation/fiber.h"

#include <sys/mman.h>

#include <memory>
#include <new>
#include <vector>

#include "cuda/emulation/sanitizer.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

constexpr std::size_t stack_bytes = 64 * 1024;
constexpr std::size_t guard_bytes = 16 * 1024;  // a page, also where pages have 16 KB

// Whoever runs the fibers: one at a time, since launches hold a lock.
struct Runner {
  Fiber* fiber = nullptr;  // that runs now
  Context context;
  void* address_sanitizer_frames = nullptr;
  void* thread_sanitizer_fiber = nullptr;
  const void* stack = nullptr;
  std::size_t stack_bytes = 0;
};

Runner runner;

void start_switch(void** frames, const void* stack, std::size_t bytes) {
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(frames, stack, bytes);
}

void finish_switch(void* frames, const void** stack, std::size_t* bytes) {
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(frames, stack, bytes);
}

// 1: the switch itself orders nothing, as a GPU's scheduler orders nothing.
void tell_thread_sanitizer(void* fiber) {
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(fiber, 1);
}

}  // namespace

Fiber::Fiber() {
  mapping_ = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping_, guard_bytes, PROT_NONE);
  stack_ = static_cast<char*>(mapping_) + guard_bytes;
  make_context(context_, stack_, stack_bytes, &Fiber::loop);
  if (__tsan_create_fiber) thread_sanitizer_fiber_ = __tsan_create_fiber(0);
}

Fiber::~Fiber() {
  if (thread_sanitizer_fiber_) __tsan_destroy_fiber(thread_sanitizer_fiber_);
  sanitizer::allow(stack_, stack_bytes);  // whoever gets these addresses next
  munmap(mapping_, stack_bytes + guard_bytes);
}

void Fiber::start(const std::function<void()>& body) {
  body_ = &body;
  enter();
}

void Fiber::resume() { enter(); }

void Fiber::suspend() { runner.fiber->leave(); }

void Fiber::loop() {
  finish_switch(nullptr, &runner.stack, &runner.stack_bytes);
  for (;;) {
    Fiber& self = *runner.fiber;
    (*self.body_)();
    self.body_ = nullptr;
    self.leave();
  }
}

void Fiber::enter() {
  runner.fiber = this;
  if (__tsan_get_current_fiber) runner.thread_sanitizer_fiber = __tsan_get_current_fiber();
  start_switch(&runner.address_sanitizer_frames, stack_, stack_bytes);
  tell_thread_sanitizer(thread_sanitizer_fiber_);
  switch_context(runner.context, context_);
  finish_switch(runner.address_sanitizer_frames, nullptr, nullptr);
  runner.fiber = nullptr;
}

void Fiber::leave() {
  start_switch(&address_sanitizer_frames_, runner.stack, runner.stack_bytes);
  tell_thread_sanitizer(runner.thread_sanitizer_fiber);
  switch_context(context_, runner.context);
  finish_switch(address_sanitizer_frames_, &runner.stack, &runner.stack_bytes);
}

namespace {

// Never destroyed: a launch may still come from another static's destructor.
std::vector<std::unique_ptr<Fiber>>& pool() {
  static auto* fibers = new std::vector<std::unique_ptr<Fiber>>;
  return *fibers;
}

}  // namespace

Fiber* take_fiber() {
  if (pool().empty()) return new Fiber;
  Fiber* fiber = pool().back().release();
  pool().pop_back();
  return fiber;
}

void return_fiber(Fiber* fiber) { pool().emplace_back(fiber); }

}  // namespace normdrop::NORMDROP_DEVICE::emulation
