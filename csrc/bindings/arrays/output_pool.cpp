// Recycled memory: buffers by size, of which the idle ones stay below a limit.
#include "bindings/arrays/output_pool.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace normdrop::output_pool {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t default_limit = std::size_t{512} << 20;

struct Pool {
  std::mutex mutex;
  std::vector<Buffer> idle;  // oldest first
  std::size_t idle_bytes = 0;
  std::size_t limit = default_limit;
  bool limit_is_known = false;
};

// Never destroyed: arrays may outlive static destructors.
Pool& pool() {
  static Pool* instance = [] {
    auto* created = new Pool;
    pthread_atfork([] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); },
                   [] { pool().mutex.unlock(); });
    return created;
  }();
  return *instance;
}

std::size_t limit_from_environment() {
  const char* text = std::getenv("NORMDROP_POOL_BYTES");
  if (text == nullptr || *text == '\0') return default_limit;
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (*end != '\0' || *text == '-' || errno == ERANGE) {
    throw std::invalid_argument(
        std::string("NORMDROP_POOL_BYTES must be a number of bytes, 0 or more, got '") + text +
        "'");
  }
  return static_cast<std::size_t>(value);
}

std::size_t known_limit(Pool& p) {
  if (!p.limit_is_known) {
    p.limit = limit_from_environment();
    p.limit_is_known = true;
  }
  return p.limit;
}

std::size_t rounded(std::size_t bytes) {
  const std::size_t step = bytes >= 2 * huge_page ? huge_page : 65536;
  return (bytes + step - 1) / step * step;
}

// Large buffers start on a huge page, so that the kernel can back them with huge pages at once.
Buffer map(std::size_t bytes) {
  const bool huge = bytes >= 2 * huge_page;
  const std::size_t extra = huge ? huge_page : 0;
  void* mapped =
      mmap(nullptr, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  if (!huge) return {mapped, bytes};
  char* start = static_cast<char*>(mapped);
  const std::size_t head =
      (huge_page - reinterpret_cast<std::uintptr_t>(start) % huge_page) % huge_page;
  if (head > 0) munmap(start, head);
  if (extra > head) munmap(start + head + bytes, extra - head);
#if defined(MADV_HUGEPAGE)
  madvise(start + head, bytes, MADV_HUGEPAGE);
#endif
  return {start + head, bytes};
}

void unmap(Buffer buffer) { munmap(buffer.memory, buffer.bytes); }

void evict_down_to(Pool& p, std::size_t bytes) {
  std::size_t dropped = 0;
  while (p.idle_bytes > bytes && dropped < p.idle.size()) {
    p.idle_bytes -= p.idle[dropped].bytes;
    unmap(p.idle[dropped]);
    ++dropped;
  }
  p.idle.erase(p.idle.begin(), p.idle.begin() + static_cast<std::ptrdiff_t>(dropped));
}

}  // namespace

Buffer acquire(std::size_t bytes) {
  const std::size_t wanted = rounded(bytes);
  if (wanted < bytes) throw std::bad_alloc();
  Pool& p = pool();
  {
    const std::lock_guard<std::mutex> lock(p.mutex);
    known_limit(p);
    // The newest buffer that wastes at most an eighth: its pages are the likeliest in cache.
    for (std::size_t i = p.idle.size(); i-- > 0;) {
      const Buffer found = p.idle[i];
      if (found.bytes < wanted || found.bytes - wanted > wanted / 8) continue;
      p.idle.erase(p.idle.begin() + static_cast<std::ptrdiff_t>(i));
      p.idle_bytes -= found.bytes;
      return found;
    }
  }
  return map(wanted);
}

void release(Buffer buffer) {
  Pool& p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  if (buffer.bytes > p.limit) return unmap(buffer);
  p.idle.push_back(buffer);
  p.idle_bytes += buffer.bytes;
  evict_down_to(p, p.limit);
}

std::size_t limit() {
  Pool& p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  return known_limit(p);
}

void set_limit(std::size_t bytes) {
  Pool& p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  p.limit = bytes;
  p.limit_is_known = true;
  evict_down_to(p, bytes);
}

void release_idle() {
  Pool& p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  evict_down_to(p, 0);
}

std::size_t idle_bytes() {
  Pool& p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  return p.idle_bytes;
}

}  // namespace normdrop::output_pool
