// A new thread, as the team has them.
#pragma once

namespace normdrop::cpu {

// Detached, in the place that OpenMP has for thread `number` where it binds threads, and with all
// signals blocked: they are for the program's own threads. False where the system has no more.
bool start_thread(int number, void* (*function)(void*), void* argument);

}  // namespace normdrop::cpu
