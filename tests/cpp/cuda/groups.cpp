// The driver of the emulated GPU.
#include "cuda/groups.h"

#include "cuda/emulation/device_limits.h"

namespace normdrop {

namespace NORMDROP_DEVICE {
extern const OpTable op_table;
extern const DeviceTable device_table;
}  // namespace NORMDROP_DEVICE

namespace driver {

std::vector<Target> targets() {
  return {{"cuda-emulated", NORMDROP_DEVICE::op_table, &NORMDROP_DEVICE::device_table}};
}

std::vector<Group> all_groups() {
  std::vector<Group> all;
  for (const auto& groups :
       {layer_norm_groups(), layer_norm_backward_groups(), batch_norm_groups(), dropout_groups(),
        copy_groups(), running_stats_groups(), family_groups(), fused_groups()}) {
    all.insert(all.end(), groups.begin(), groups.end());
  }
  return all;
}

void set_host_threads(int) {}

WithoutClusters::WithoutClusters(SharedMemory shared_memory)
    : multiprocessors_(NORMDROP_DEVICE::device_limits().multiprocessors),
      shared_bytes_(NORMDROP_DEVICE::device_limits().shared_bytes_per_block),
      largest_cluster_(NORMDROP_DEVICE::device_limits().largest_cluster) {
  const int bytes = shared_memory == SharedMemory::plenty ? shared_bytes_ : 16 * 1024;
  NORMDROP_DEVICE::emulation::set_limits({multiprocessors_, bytes, false, 1});
}

WithoutClusters::~WithoutClusters() {
  NORMDROP_DEVICE::emulation::set_limits({multiprocessors_, shared_bytes_, true, largest_cluster_});
}

std::vector<Variant> few_variants(std::int64_t item_bytes, unsigned optional_outputs, bool quick) {
  const unsigned all = (1u << optional_outputs) - 1;
  const Place aligned{Place::begins_at_guard, 0};
  const Place one_off{Place::at_offset, item_bytes};
  std::vector<Variant> few{
      {aligned, {0, false}, false, all, 1},
      {one_off, {3, true}, true, all, 1},
  };
  if (quick) return few;
  few.push_back({{Place::ends_at_guard, 0}, {0, false}, false, all & 1u, 1});
  few.push_back({{Place::begins_at_guard, 0}, {16, false}, true, 0, 1});
  few.push_back({{Place::ends_at_guard, 0}, {5, false}, false, all & 2u, 1});
  return few;
}

std::vector<Variant> shifted_variants(std::int64_t item_bytes, unsigned optional_outputs) {
  const unsigned all = (1u << optional_outputs) - 1;
  std::vector<Variant> shifted;
  for (std::int64_t items = 0; items * item_bytes < 16; ++items) {
    for (const std::int64_t gap : {std::int64_t{0}, items + 1}) {
      shifted.push_back({{Place::at_offset, items * item_bytes}, {gap, gap > 4}, false, all, 1});
    }
  }
  return shifted;
}

std::vector<Shape> shifted_rows(std::int64_t vector) {
  return {{9, 5 * vector, 1},  {9, 5 * vector + 1, 1},
          {3, 70 * vector, 1}, {3, 70 * vector - 1, 1},
          {2, 9, 40},          {2, 9, 37}};
}

}  // namespace driver
}  // namespace normdrop
