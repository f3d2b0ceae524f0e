// Texts of the emulation's errors.
#include <map>

#include "cuda/emulation/scheduler.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

std::string described(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ")";
}

}  // namespace

std::string described(const Block& block) { return "block " + described(block.index); }

std::string described(const Thread& thread) {
  return "thread " + described(thread.index) + " of " + described(*thread.warp->block);
}

std::string described(const Site& site) {
  const std::string path = site.file_name();
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(site.line());
}

std::string waiting_threads(const std::vector<std::unique_ptr<Cluster>>& clusters) {
  constexpr std::size_t most_places = 8;  // beyond them a text explains nothing
  struct Place {
    const Thread* first;
    unsigned count;
  };
  std::map<std::string, Place> places;
  for (const auto& cluster : clusters) {
    for (const Block& block : cluster->blocks) {
      for (const Thread& thread : block.threads) {
        if (thread.waits_at == nullptr) continue;
        const std::string where = std::string(thread.waits_at) + " at " + described(thread.site);
        ++places.try_emplace(where, Place{&thread, 0}).first->second.count;
      }
    }
  }
  std::string text;
  std::size_t shown = 0;
  for (const auto& [where, place] : places) {
    if (++shown > most_places) return text + "; and elsewhere";
    if (!text.empty()) text += "; ";
    text += std::to_string(place.count) + " wait at " + where + " (first " +
            described(*place.first) + ")";
  }
  return text;
}

}  // namespace normdrop::NORMDROP_DEVICE::emulation
