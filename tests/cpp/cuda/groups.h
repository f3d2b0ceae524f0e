// What the groups of the emulated GPU share: every dtype, few ways of making a call, other cards.
#pragma once

#include "norm_problems.h"
#include "variants.h"

namespace normdrop::driver {

std::vector<Group> layer_norm_backward_groups();
std::vector<Group> family_groups();
std::vector<Group> fused_groups();

// A card without clusters, while this lives: with an H200's shared memory for each block, or with
// less than a chunk of a row needs.
enum class SharedMemory { plenty, little };
class WithoutClusters {
 public:
  explicit WithoutClusters(SharedMemory shared_memory);
  ~WithoutClusters();
  WithoutClusters(const WithoutClusters&) = delete;
  WithoutClusters& operator=(const WithoutClusters&) = delete;

 private:
  int multiprocessors_;
  int shared_bytes_;
  int largest_cluster_;
};

// Aligned and dense; one element off, spaced and in place; both guards, with gaps and without. Few,
// because an emulated call takes long: which kernel runs depends on the shape alone, and these are
// the ways in which its loads and stores differ. With `quick` the first two.
std::vector<Variant> few_variants(std::int64_t item_bytes, unsigned optional_outputs, bool quick);

// Every distance of an array from the vector boundary before it, another for every array of a call,
// rows in all distances too.
std::vector<Variant> shifted_variants(std::int64_t item_bytes, unsigned optional_outputs);

// For these: layer norm's rows of whole vectors and others, by a warp and by a block, and columns.
std::vector<Shape> shifted_rows(std::int64_t vector);

// The elements of a thread, as tuning.h has them: 128 bytes of two passes forward, 8 columns
// backward (float64 4).
template <class T>
inline constexpr std::int64_t forward_elements = sizeof(T) == 8 ? 16 : 32;
template <class T>
inline constexpr std::int64_t backward_elements = sizeof(T) == 8 ? 4 : 8;

// A length that is a whole number of vectors, and one next to it that is odd.
template <class T>
inline constexpr std::int64_t vector_of = 16 / static_cast<std::int64_t>(sizeof(T));

}  // namespace normdrop::driver
