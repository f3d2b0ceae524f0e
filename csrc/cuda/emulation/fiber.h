// Fibers: functions with a stack of their own that one thread of the system runs in turns. A
// fiber is an endless loop over bodies, so that stacks are made once and used again.
#pragma once

#include <functional>

#include "cuda/emulation/context.h"

namespace normdrop::NORMDROP_DEVICE::emulation {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs `body` until it suspends or returns; `body` must outlive that and let no exception out.
  void start(const std::function<void()>& body);
  void resume();
  bool finished() const { return body_ == nullptr; }

  // Called by a body: back to whoever called start() or resume().
  static void suspend();

 private:
  static void loop();
  void enter();
  void leave();

  void* mapping_;
  char* stack_;
  const std::function<void()>* body_ = nullptr;
  Context context_;
  void* address_sanitizer_frames_ = nullptr;
  void* thread_sanitizer_fiber_ = nullptr;
};

// From a pool that keeps what was returned to it.
Fiber* take_fiber();
void return_fiber(Fiber* fiber);

}  // namespace normdrop::NORMDROP_DEVICE::emulation
