// Dropout and its mask: counts around vectors, Philox blocks and blocks of threads, first elements
// within a Philox block, draws in the device's memory, counters beyond 32 bits.
#include "cuda/groups.h"
#include "dropout_calls.h"

namespace normdrop::driver {
namespace {

using namespace dropout;

// Elements of a block of 256 threads by 4 groups of 4 elements, and of 8 (half types).
constexpr std::int64_t of_block = 4096;

std::vector<std::int64_t> counts(bool quick) {
  std::vector<std::int64_t> all;
  for (std::int64_t n = 0; n <= 35; ++n) all.push_back(n);
  for (const std::int64_t n : {std::int64_t{256}, std::int64_t{1024}, of_block, 2 * of_block}) {
    all.insert(all.end(), {n - 1, n, n + 1, n + 7});
  }
  if (!quick) all.insert(all.end(), {3 * of_block + 9, 65535, 65537});
  return all;
}

template <class ProblemOf, std::int64_t item_bytes>
void run_counts(const Context& context) {
  Memory memory;
  const std::vector<Variant> variants = few_variants(item_bytes, 0, context.quick);
  std::uint64_t turn = 0;
  for (const std::int64_t count : counts(context.quick)) {
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{1},
                                      std::uint64_t{3}, two_32 - 2, 4 * two_32 - 8}) {
      const std::uint64_t threshold = turn % 7 == 5 ? 0 : turn % 7 == 6 ? two_32 : two_32 / 3 * 2;
      ProblemOf problem(count,
                        DropoutDraw{0x0123456789ABCDEFu, 0xFEDCBA9876543210u, threshold, first});
      problem.on_device = turn++ % 2 == 1;
      for (const Variant& v : variants) run(context, memory, problem, v);
    }
  }
}

template <class ProblemOf, std::int64_t item_bytes>
void run_shifted(const Context& context) {
  Memory memory;
  for (const std::int64_t count : {3, 37, 1000, 4099}) {
    ProblemOf problem(count, DropoutDraw{1, 2, two_32 / 2, 4});
    for (const Variant& v : shifted_variants(item_bytes, 0)) run(context, memory, problem, v);
  }
}

// Axes along which a word serves all, under every kind of noise.
template <class T>
void run_shared(const Context& context) {
  Memory memory;
  for_each_shared<T>([&](Problem<T>& problem) {
    for (const Variant& v : few_variants(sizeof(T), 0, context.quick))
      run(context, memory, problem, v);
  });
}

void run_shared_keep(const Context& context) {
  Memory memory;
  for_each_shared_keep([&](KeepProblem& problem) {
    for (const Variant& v : few_variants(1, 0, context.quick)) run(context, memory, problem, v);
  });
}

// The other kinds where every element has a word of its own.
template <class T>
void run_kinds(const Context& context) {
  Memory memory;
  for (const std::int64_t count : {1, 3, 16, 37, 255, 1031}) {
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{3}, 4 * two_32 - 7}) {
      for (const DropoutKind kind : kinds) {
        Problem<T> problem(count, DropoutDraw{17, 5, two_32 / 3, first}, kind);
        for (const Variant& v : few_variants(sizeof(T), 0, context.quick))
          run(context, memory, problem, v);
      }
    }
  }
}

}  // namespace

std::vector<Group> dropout_groups() {
  return {
      {"dropout/shifts/float32", run_shifted<Problem<float>, 4>},
      {"dropout/shifts/float64", run_shifted<Problem<double>, 8>},
      {"dropout/shifts/bfloat16", run_shifted<Problem<BFloat16>, 2>},
      {"dropout/counts/float32", run_counts<Problem<float>, 4>},
      {"dropout/counts/float64", run_counts<Problem<double>, 8>},
      {"dropout/counts/float16", run_counts<Problem<Float16>, 2>},
      {"dropout/counts/bfloat16", run_counts<Problem<BFloat16>, 2>},
      {"dropout_keep/counts/uint8", run_counts<KeepProblem, 1>},
      {"dropout/shared/float32", run_shared<float>},
      {"dropout/shared/float64", run_shared<double>},
      {"dropout/shared/float16", run_shared<Float16>},
      {"dropout/shared/bfloat16", run_shared<BFloat16>},
      {"dropout/kinds/float32", run_kinds<float>},
      {"dropout/kinds/float64", run_kinds<double>},
      {"dropout/kinds/float16", run_kinds<Float16>},
      {"dropout/kinds/bfloat16", run_kinds<BFloat16>},
      {"dropout_keep/shared/uint8", run_shared_keep},
  };
}

}  // namespace normdrop::driver
