// Cases, groups of cases and their counts. A case is one call of one function of a backend's table
// with everything that is checked about it; it passes unless something called fail().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/device.h"
#include "ops/operations.h"

namespace normdrop::driver {

struct Context {
  const OpTable& table;
  const DeviceTable* device;  // null: the host's memory, no streams
  bool quick;                 // fewer placements per shape, not fewer shapes
};

// The stream of one call, with a workspace of its own, so that no call finds what another left
// there; or the threads of the host.
class Stream {
 public:
  Stream(const Context& context, int threads);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void* handle() const { return handle_; }
  // Waits for the call and gives the workspace back, which tells of writes beside it.
  void finish();

 private:
  const DeviceTable* device_;
  void* handle_ = nullptr;
};

struct Group {
  std::string name;  // operation/what/dtype
  void (*run)(const Context&);
};

class Case {
 public:
  // The text says which call this is; it is shown with every failure and by the signal handler.
  __attribute__((format(printf, 2, 3))) explicit Case(const char* format, ...);
  ~Case();
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  __attribute__((format(printf, 2, 3))) void fail(const char* format, ...);

 private:
  bool failed_ = false;
};

struct Counts {
  std::int64_t passed = 0;
  std::int64_t failed = 0;
};

// Counts a failure of the case that was the last to begin.
void fail_last_case(const char* why);

// From now on `name` stands in front of every failure, and counts() is that of this group.
void begin_group(const std::string& name);
Counts counts();

// A fault (a touched guard page) or a sanitizer's report ends the program; it then says in which
// case.
void name_case_on_fault();

// What a program is made of: groups.cpp for the CPU, cuda/groups.cpp for the emulated GPU.
struct Target {
  const char* name;
  const OpTable& table;
  const DeviceTable* device;
};
std::vector<Target> targets();
std::vector<Group> all_groups();
void set_host_threads(int threads);

// Groups of one operation's file.
std::vector<Group> layer_norm_groups();
std::vector<Group> batch_norm_groups();
std::vector<Group> dropout_groups();
std::vector<Group> running_stats_groups();
std::vector<Group> copy_groups();
std::vector<Group> run_tasks_groups();

}  // namespace normdrop::driver
