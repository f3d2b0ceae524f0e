#include "cpu/start_thread.h"

#if defined(_OPENMP)
#include <omp.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>

#include "cpu/tuning.h"

namespace normdrop::cpu {
namespace {

// Where OpenMP binds threads to places the caller is bound to its own, which a new thread inherits.
void bind_to_place([[maybe_unused]] pthread_t thread, [[maybe_unused]] int number) {
#if defined(__linux__)
  if (omp_get_proc_bind() == omp_proc_bind_false || omp_get_num_places() < 1) return;
  const int place = (std::max(0, omp_get_place_num()) + number) % omp_get_num_places();
  const int count = omp_get_place_num_procs(place);
  if (count > CPU_SETSIZE) return;
  int processors[CPU_SETSIZE];
  omp_get_place_proc_ids(place, processors);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < count; ++i) CPU_SET(processors[i], &set);
  pthread_setaffinity_np(thread, sizeof set, &set);
#endif
}

}  // namespace

bool start_thread(int number, void* (*function)(void*), void* argument) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, tuning::thread_stack_bytes);
  pthread_t thread;
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const bool started = pthread_create(&thread, &attributes, function, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (started) bind_to_place(thread, number);
  return started;
}

}  // namespace normdrop::cpu
#endif
