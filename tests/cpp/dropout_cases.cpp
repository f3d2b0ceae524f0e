// Dropout and its mask: every short count, around the blocks that the words are made in, with
// indices and calls beyond 32 bits; every kind of noise, and axes that share words.
#include "cpu/tuning.h"
#include "dropout_calls.h"

namespace normdrop::driver {
namespace {

using namespace dropout;

// Calls body(count, draw): every first index modulo 4, and where counters carry.
template <class Body>
void for_each_short_draw(Body&& body) {
  std::vector<std::int64_t> counts = around_powers_of_two(7, 9);
  for (std::int64_t n = 0; n <= longest_short_length; ++n) counts.push_back(n);
  for (const std::int64_t count : counts) {
    for (const std::uint64_t first :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, two_32 - 3,
          4 * two_32 - 7, 4 * two_32 - 4 * 63}) {
      for (const std::uint64_t threshold :
           {std::uint64_t{0}, std::uint64_t{1}, two_32 / 3, two_32 - 1, two_32}) {
        body(count, DropoutDraw{0x0123456789ABCDEFu, 0xFEDCBA9876543210u, threshold, first});
      }
    }
  }
}

template <class Body>
void for_each_limit_draw(Body&& body) {
  std::vector<std::int64_t> counts = around_powers_of_two(10, 15);
  counts.insert(counts.end(), {3 * 16384 + 5, 7 * 16384});
  for (const std::int64_t count : counts) {
    for (const std::uint64_t threshold : {std::uint64_t{0}, two_32 / 2, two_32}) {
      body(count, DropoutDraw{17, two_32 + 5, threshold, static_cast<std::uint64_t>(count % 4)});
    }
  }
}

template <class ProblemOf, std::int64_t item_bytes>
void run_short(const Context& context) {
  Memory memory;
  Variants variants(item_bytes, 0);
  const std::vector<Variant> every = variants.every();
  for_each_short_draw([&](std::int64_t count, const DropoutDraw& draw) {
    ProblemOf problem(count, draw);
    for (const Variant& v : context.quick ? variants.some(1, 1) : every) {
      run(context, memory, problem, v);
    }
  });
}

template <class ProblemOf, std::int64_t item_bytes>
void run_limits(const Context& context) {
  Memory memory;
  Variants variants(item_bytes, 0);
  for_each_limit_draw([&](std::int64_t count, const DropoutDraw& draw) {
    ProblemOf problem(count, draw);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context, memory, problem, v);
    }
  });
}

// Outputs that are written past the caches, from every place in a block of words.
template <class T>
void run_streamed(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 0);
  const std::int64_t count = cpu::tuning::streamed_output_bytes / std::int64_t{sizeof(T)} + 37;
  for (const std::uint64_t first : {0, 1, 2, 3}) {
    Problem<T> problem(count, DropoutDraw{17, 5, two_32 / 2, first});
    for (const Variant& v : variants.streamed(0)) run(context, memory, problem, v);
    if (context.quick) return;
  }
}

// Axes along which a word serves all, under every kind of noise.
template <class T>
void run_shared(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 0);
  for_each_shared<T>([&](Problem<T>& problem) {
    problem.on_device = false;
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4))
      run(context, memory, problem, v);
  });
}

void run_shared_keep(const Context& context) {
  Memory memory;
  Variants variants(1, 0);
  for_each_shared_keep([&](KeepProblem& problem) {
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4))
      run(context, memory, problem, v);
  });
}

// The other kinds where every element has a word of its own.
template <class T>
void run_kinds(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 0);
  for (const std::int64_t count : {1, 3, 16, 37, 255, 1031}) {
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{3}, 4 * two_32 - 7}) {
      for (const DropoutKind kind : kinds) {
        Problem<T> problem(count, DropoutDraw{17, 5, two_32 / 3, first}, kind);
        for (const Variant& v : variants.some(1, context.quick ? 1 : 4))
          run(context, memory, problem, v);
      }
    }
  }
}

}  // namespace

std::vector<Group> dropout_groups() {
  return {
      {"dropout/short/float32", run_short<Problem<float>, 4>},
      {"dropout/short/float64", run_short<Problem<double>, 8>},
      {"dropout/short/float16", run_short<Problem<Float16>, 2>},
      {"dropout/short/bfloat16", run_short<Problem<BFloat16>, 2>},
      {"dropout/limits/float32", run_limits<Problem<float>, 4>},
      {"dropout/limits/float64", run_limits<Problem<double>, 8>},
      {"dropout/limits/float16", run_limits<Problem<Float16>, 2>},
      {"dropout/limits/bfloat16", run_limits<Problem<BFloat16>, 2>},
      {"dropout/streamed/float32", run_streamed<float>},
      {"dropout/streamed/float16", run_streamed<Float16>},
      {"dropout_keep/short/uint8", run_short<KeepProblem, 1>},
      {"dropout_keep/limits/uint8", run_limits<KeepProblem, 1>},
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
