#include "harness.h"

#include <signal.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>

namespace normdrop::driver {
namespace {

constexpr int failures_shown_per_group = 5;

Counts group_counts;
int failures_shown = 0;
std::string group_name;
char case_text[512] = "no case yet";

constexpr int faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
struct sigaction action_before[std::size(faults)];

void write_text(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

void write_case() {
  write_text("\nFAILED: ended in ");
  write_text(group_name.c_str());
  write_text(": ");
  write_text(case_text);
  write_text("\n");
}

// Says which case it was, then lets the fault happen again under the handler from before: the
// system's, or a sanitizer's with its report.
void on_fault(int number) {
  write_case();
  for (std::size_t i = 0; i < std::size(faults); ++i) {
    if (faults[i] == number) sigaction(number, &action_before[i], nullptr);
  }
}

}  // namespace

Case::Case(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(case_text, sizeof case_text, format, arguments);
  va_end(arguments);
}

Case::~Case() { failed_ ? ++group_counts.failed : ++group_counts.passed; }

void Case::fail(const char* format, ...) {
  failed_ = true;
  if (failures_shown >= failures_shown_per_group) return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  std::printf("  FAILED %s: %s: %s\n", group_name.c_str(), case_text, text);
  if (++failures_shown < failures_shown_per_group) return;
  std::printf("  further failures of this group are only counted\n");
}

void fail_last_case(const char* why) {
  char text[sizeof case_text];
  std::memcpy(text, case_text, sizeof text);
  Case("%s", text).fail("%s", why);
}

Stream::Stream(const Context& context, int threads) : device_(context.device) {
  if (device_ == nullptr) {
    set_host_threads(threads);
  } else {
    handle_ = device_->new_stream();
  }
}

Stream::~Stream() {
  try {
    finish();
  } catch (const std::exception&) {  // an error is on its way already, or finish() had told of it
  }
}

void Stream::finish() {
  if (handle_ == nullptr) return;
  void* handle = handle_;
  handle_ = nullptr;
  device_->synchronise(handle);
  device_->delete_stream(handle);
}

void begin_group(const std::string& name) {
  group_counts = {};
  group_name = name;
  failures_shown = 0;
}

Counts counts() { return group_counts; }

void name_case_on_fault() {
  struct sigaction action = {};
  action.sa_handler = on_fault;
  for (std::size_t i = 0; i < std::size(faults); ++i) {
    sigaction(faults[i], &action, &action_before[i]);
  }
}

}  // namespace normdrop::driver
