// The team of threads: threads that help a caller, if they come in time.
#pragma once

#include <cstdint>

namespace normdrop::cpu {

using ThreadFunction = void (*)(void* context, int thread);

// function(context, 0) on this thread and meanwhile function(context, t) on those of the threads
// t = 1 to threads - 1 that come; returns once none is at work. The function shares its work out by
// itself, returns when there is none left, and does not throw. `elements` says how large the work
// is. Returns false, having done nothing, where another call has the team, and in a forked child,
// which has no threads but its own.
bool run_in_team(int threads, std::int64_t elements, ThreadFunction function, void* context);

}  // namespace normdrop::cpu
