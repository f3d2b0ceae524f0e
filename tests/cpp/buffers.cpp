#include "buffers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0
#endif
#if !defined(MAP_ANONYMOUS)
#define MAP_ANONYMOUS MAP_ANON
#endif

namespace normdrop::driver {
namespace {

std::int64_t page_bytes() {
  static const std::int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

bool all_canaries(const char* begin, std::int64_t bytes, int canary) {
  const std::vector<char> expected(canary_bytes, static_cast<char>(canary));
  for (std::int64_t i = 0; i < bytes; i += canary_bytes) {
    const std::int64_t part = std::min(bytes - i, canary_bytes);
    if (std::memcmp(begin + i, expected.data(), static_cast<std::size_t>(part)) != 0) return false;
  }
  return true;
}

}  // namespace

const char* Place::name() const {
  switch (kind) {
    case ends_at_guard:
      return "ends at a guard page";
    case begins_at_guard:
      return "begins at a guard page";
    default:
      return "at an offset";
  }
}

Region::~Region() { release(); }

void Region::release() {
  if (mapping_ == nullptr) return;
  munmap(mapping_, static_cast<std::size_t>(capacity_ + 2 * page_bytes()));
  mapping_ = nullptr;
  capacity_ = 0;
}

void Region::reserve(std::int64_t bytes) {
  if (bytes <= capacity_) return;
  release();
  const std::int64_t page = page_bytes();
  const std::int64_t capacity = (bytes + page - 1) / page * page;
  void* mapping = mmap(nullptr, static_cast<std::size_t>(capacity + 2 * page), PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<char*>(mapping);
  capacity_ = capacity;
  if (mprotect(mapping_ + page, static_cast<std::size_t>(capacity), PROT_READ | PROT_WRITE) != 0) {
    release();
    throw std::bad_alloc();
  }
}

char* Region::take(const Place& place, std::int64_t bytes) {
  reserve(std::max<std::int64_t>(65536, bytes + 2 * canary_bytes + 64));
  char* begin = mapping_ + page_bytes();
  switch (place.kind) {
    case Place::ends_at_guard:
      return begin + capacity_ - bytes;
    case Place::begins_at_guard:
      return begin;
    default:
      return begin + canary_bytes + place.offset_bytes;
  }
}

Canaries::Canaries(const Place& place, char* begin, std::int64_t row_bytes, std::int64_t gap_bytes,
                   std::int64_t rows)
    : begin_(begin),
      canary_(place.canary),
      front_bytes_(place.kind == Place::begins_at_guard ? 0 : canary_bytes),
      back_bytes_(place.kind == Place::ends_at_guard ? 0 : canary_bytes),
      row_bytes_(row_bytes),
      gap_bytes_(gap_bytes),
      rows_(rows) {
  for_each_part([this](char* part, std::int64_t bytes) {
    std::memset(part, canary_, static_cast<std::size_t>(bytes));
    forbid(part, static_cast<std::size_t>(bytes));
    return true;
  });
}

Canaries::~Canaries() { unwatch(); }

bool Canaries::intact() {
  unwatch();
  bool intact = true;
  for_each_part([&](char* part, std::int64_t bytes) {
    intact = intact && all_canaries(part, bytes, canary_);
    return intact;
  });
  return intact;
}

void Canaries::unwatch() {
  for_each_part([](char* part, std::int64_t bytes) {
    allow(part, static_cast<std::size_t>(bytes));
    return true;
  });
}

// Calls body(begin, bytes) for each filled part until it says false.
template <class Body>
void Canaries::for_each_part(Body&& body) const {
  const std::int64_t pitch = row_bytes_ + gap_bytes_;
  char* end = begin_ + (rows_ > 0 ? (rows_ - 1) * pitch + row_bytes_ : 0);
  if (front_bytes_ > 0 && !body(begin_ - front_bytes_, front_bytes_)) return;
  if (back_bytes_ > 0 && !body(end, back_bytes_)) return;
  if (gap_bytes_ == 0) return;
  for (std::int64_t i = 0; i + 1 < rows_; ++i) {
    char* gap = begin_ + i * pitch + row_bytes_;
    if (gap_bytes_ <= 2 * canary_bytes) {
      if (!body(gap, gap_bytes_)) return;
    } else {
      if (!body(gap, canary_bytes) || !body(gap + gap_bytes_ - canary_bytes, canary_bytes)) return;
    }
  }
}

}  // namespace normdrop::driver
