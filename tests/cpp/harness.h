// Cases, groups of cases and their counts. A case is one call of one function of a backend's table
// with everything that is checked about it; it passes unless something called fail().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/op_table.h"

namespace normdrop::driver {

struct Context {
  const OpTable& table;
  bool quick;  // fewer placements per shape, not fewer shapes
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

// From now on `name` stands in front of every failure, and counts() is that of this group.
void begin_group(const std::string& name);
Counts counts();

// A fault (a touched guard page) or a sanitizer's report ends the program; it then says in which
// case.
void name_case_on_fault();

// Groups of one operation's file, for both dtypes.
std::vector<Group> layer_norm_groups();
std::vector<Group> batch_norm_groups();
std::vector<Group> dropout_groups();
std::vector<Group> copy_groups();

}  // namespace normdrop::driver
