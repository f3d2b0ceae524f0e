// What must live until a stream has passed a point.
#include "bindings/device/retirement.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <utility>

#include "bindings/device/device_array.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {
namespace {

// At most this many calls wait to be given back; one more, and the oldest is waited for.
constexpr int most_pending = 64;

// The word 1 is copied from the device into a pinned ticket of the host behind the kernels: when
// the host reads it, the stream has passed them. Nobody has to wait or to ask the driver.
using Ticket = std::atomic<std::uint64_t>;

struct Pending {
  std::vector<Imported> arrays;
  Ticket* ticket;
  void* stream;
};

// Of one device; guarded by the GIL, and never destroyed, since arrays may outlive static objects.
struct Waiting {
  const Backend& backend;
  int device;
  char* tickets;
  DeviceMemory one;
  std::deque<Pending> pending;
  std::vector<Ticket*> free;

  Waiting(const Backend& owner, int id)
      : backend(owner),
        device(id),
        tickets(static_cast<char*>(owner.device->allocate_pinned(most_pending * sizeof(Ticket)))),
        one(owner, id, nullptr, sizeof(std::uint64_t)) {
    for (int i = 0; i < most_pending; ++i)
      free.push_back(new (tickets + i * sizeof(Ticket)) Ticket(0));
    const std::uint64_t word = 1;
    owner.device->copy_to_device(one.data, &word, sizeof word, nullptr);
    owner.device->synchronise(nullptr);
  }
};

Waiting& waiting_on(const Backend& backend, int device) {
  static auto* all = new std::map<std::pair<const Backend*, int>, Waiting>;
  return all->try_emplace({&backend, device}, backend, device).first->second;
}

// Giving arrays back may run Python, and with it other threads: an entry leaves the list first.
Pending take_oldest(Waiting& waiting) {
  Pending oldest = std::move(waiting.pending.front());
  waiting.pending.pop_front();
  return oldest;
}

void give_back_passed(Waiting& waiting) {
  while (!waiting.pending.empty() && waiting.pending.front().ticket->load() == 1) {
    const Pending passed = take_oldest(waiting);
    passed.ticket->store(0);
    waiting.free.push_back(passed.ticket);
  }
}

void wait_without_gil(const DeviceTable& table, void* stream) {
  try {
    const ReleasedGil released(true);
    table.synchronise(stream);
  } catch (const DeviceError&) {  // the stream is gone, and so is whatever it did
  }
}

// Null where other threads wait for every call that is pending.
Ticket* free_ticket(const DeviceTable& table, Waiting& waiting) {
  give_back_passed(waiting);
  if (waiting.free.empty()) {
    if (waiting.pending.empty()) return nullptr;
    const Pending oldest = take_oldest(waiting);
    wait_without_gil(table, oldest.stream);
    oldest.ticket->store(0);
    return oldest.ticket;
  }
  Ticket* ticket = waiting.free.back();
  waiting.free.pop_back();
  return ticket;
}

}  // namespace

void keep_until_passed(const Backend& backend, int device, void* stream,
                       std::vector<Imported> arrays) {
  // While a graph is recorded nothing runs; its arrays are the caller's to keep.
  if (arrays.empty() || backend.device->is_capturing(stream)) return;
  const DeviceTable& table = *backend.device;
  Waiting& waiting = waiting_on(backend, device);
  Ticket* ticket = free_ticket(table, waiting);
  if (ticket == nullptr) return wait_without_gil(table, stream);
  try {
    table.copy_to_host(ticket, waiting.one.data, sizeof(std::uint64_t), stream);
  } catch (const DeviceError&) {
    waiting.free.push_back(ticket);
    throw;
  }
  waiting.pending.push_back({std::move(arrays), ticket, stream});
}

}  // namespace normdrop
