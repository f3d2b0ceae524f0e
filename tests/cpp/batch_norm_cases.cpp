// Batch norm, forward, inference and backward, on every short length along each of its three
// dimensions and around the limits of tuning.h.
#include "batch_norm_calls.h"
#include "cpu/tuning.h"

namespace normdrop::driver {
namespace {

namespace tuning = cpu::tuning;
using namespace batch_norm;

// The forward passes are never called for nothing, the backward pass is.
std::vector<Shape> short_shapes(std::int64_t shortest) {
  std::vector<Shape> shapes;
  for (std::int64_t n = shortest; n <= longest_short_length; ++n) {
    const Shape of_length[] = {
        {5, n, 1}, {2, n, 1},  {3, n, 4},               // along the channels
        {n, 3, 1}, {n, 17, 1}, {n, 2, 5},               // along the batch
        {2, 3, n}, {1, 3, n},  {4, 30, n}, {19, 2, n},  // along inner
    };
    shapes.insert(shapes.end(), std::begin(of_length), std::end(of_length));
  }
  return shapes;
}

// Around the lengths at which a kernel takes another way: tiles of channels, blocks and slots of
// rows, prefetched runs, chunks of a channel, few channels or many, one thread or several.
std::vector<Shape> limit_shapes() {
  std::vector<Shape> shapes;
  for (const std::int64_t n : around_powers_of_two(7, 14)) {
    shapes.insert(shapes.end(), {{3, n, 1}, {n, 3, 1}, {n, 2, 2}, {2, 3, n}});
  }
  for (const std::int64_t n : around_powers_of_two(7, 12)) {
    shapes.insert(shapes.end(), {{n, 33, 1}, {2 * n, 2, 8}, {9, 2, n}, {2, 30, n}, {1, 1, n}});
  }
  for (const std::int64_t n : around_powers_of_two(8, 11)) {
    shapes.insert(shapes.end(), {{40, n, 1}, {67, n, 1}, {3, n, 4}});
  }
  shapes.push_back({65 * 4096 + 1, 2, 1});  // beyond a fixed number of rows to take a centre from
  return shapes;
}

// Runs the variants of every problem of these shapes, kinds of data and parameters.
template <class Problem, class T>
void run_short(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 0);
  const std::vector<Variant> every = variants.every();
  for (const Shape& shape : short_shapes(1)) {
    for (const Data data : {Data::ordinary, Data::far_from_zero, Data::infinite, Data::extreme}) {
      for (int p = 0; p < 4; ++p) {
        Problem problem(shape, data, p % 2 == 0, p / 2 == 0);
        const bool all = !context.quick && data == Data::ordinary;
        for (const Variant& v : all ? every : variants.some(1, 1)) {
          run(context, memory, problem, v);
        }
      }
    }
  }
}

template <class T>
void backward_short(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 2);
  const std::vector<Variant> every = variants.every();
  for (const Shape& shape : short_shapes(0)) {
    for (const Data data : {Data::ordinary, Data::far_from_zero}) {
      for (int p = 0; p < 4; ++p) {
        Backward<T> problem(shape, data, p % 2 == 0, p / 2 == 0);
        const bool all = !context.quick && data == Data::ordinary;
        for (const Variant& v : all ? every : variants.some(1, 1)) {
          run(context, memory, problem, v);
        }
      }
    }
  }
}

template <class Problem, class T>
void run_limits(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 0);
  int turn = 0;
  for (const Shape& shape : limit_shapes()) {
    const int parameters = turn++ % 4;
    const Data data = turn % 3 == 0 ? Data::extreme : Data::ordinary;
    Problem problem(shape, data, parameters % 2 == 0, parameters / 2 == 0);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context, memory, problem, v);
    }
  }
}

template <class T>
void backward_limits(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 2);
  int turn = 0;
  for (const Shape& shape : limit_shapes()) {
    const Data data = turn++ % 3 == 0 ? Data::far_from_zero : Data::ordinary;
    Backward<T> problem(shape, data, turn % 2 == 0, turn % 5 == 0);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context, memory, problem, v);
    }
  }
}

template <class Problem, class T>
void run_far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 0);
  for (const Shape& shape : {Shape{6, 37, 1}, Shape{5, 3, 13}, Shape{5, 40, 2}}) {
    Problem problem(shape, Data::ordinary, true, true);
    for (const Variant& v : variants.far(shape.row_length())) {
      run(context, memory, problem, v);
    }
  }
}

template <class T>
void backward_far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const Shape& shape : {Shape{6, 37, 1}, Shape{5, 3, 13}, Shape{5, 40, 2}}) {
    for (const Data data : {Data::ordinary, Data::far_from_zero}) {
      Backward<T> problem(shape, data, true, false);
      for (const Variant& v : variants.far(shape.row_length())) {
        run(context, memory, problem, v);
      }
    }
  }
}

// Outputs that are written past the caches: rows of channels, few channels and many; rows on
// 64-byte boundaries with and without a gap.
template <class Problem, class T>
void run_streamed(const Context& context) {
  if (context.quick && sizeof(T) == 2) return;
  Memory memory;
  const Variants variants(sizeof(T), std::is_same_v<Problem, Backward<T>> ? 2 : 0);
  const std::int64_t elements = tuning::streamed_output_bytes / std::int64_t{sizeof(T)};
  const auto run_all = [&](const Shape& shape, Data data, std::int64_t gap) {
    Problem problem(shape, data, gap == 0, false);
    for (const Variant& v : variants.streamed(gap)) run(context, memory, problem, v);
  };
  run_all({elements / 1024 + 1, 1024, 1}, Data::ordinary, 0);
  run_all({elements / (64 * 784) + 1, 64, 784}, Data::ordinary, 0);
  if (context.quick) return;
  run_all({elements / 1021 + 1, 1021, 1}, Data::far_from_zero, 3);
  run_all({elements / 1008 + 1, 3, 336}, Data::ordinary, 16);
  run_all({elements / (64 * 144) + 1, 64, 144}, Data::far_from_zero, 0);
  run_all({elements / (40 * 64) + 1, 40, 64}, Data::ordinary, 0);
  run_all({elements / (9 * 4112) + 1, 9, 4112}, Data::ordinary, 0);  // a chunk and a short rest
}

}  // namespace

// The half types take the same ways at the same limits: one of them is enough there.
std::vector<Group> batch_norm_groups() {
  return {
      {"batch_norm_forward/short/float32", run_short<Forward<float>, float>},
      {"batch_norm_forward/short/float64", run_short<Forward<double>, double>},
      {"batch_norm_forward/short/float16", run_short<Forward<Float16>, Float16>},
      {"batch_norm_forward/short/bfloat16", run_short<Forward<BFloat16>, BFloat16>},
      {"batch_norm_forward/limits/float32", run_limits<Forward<float>, float>},
      {"batch_norm_forward/limits/float64", run_limits<Forward<double>, double>},
      {"batch_norm_forward/limits/bfloat16", run_limits<Forward<BFloat16>, BFloat16>},
      {"batch_norm_forward/far/float32", run_far<Forward<float>, float>},
      {"batch_norm_forward/far/float64", run_far<Forward<double>, double>},
      {"batch_norm_forward/streamed/float32", run_streamed<Forward<float>, float>},
      {"batch_norm_forward/streamed/bfloat16", run_streamed<Forward<BFloat16>, BFloat16>},
      {"batch_norm_inference/short/float32", run_short<Inference<float>, float>},
      {"batch_norm_inference/short/float64", run_short<Inference<double>, double>},
      {"batch_norm_inference/short/float16", run_short<Inference<Float16>, Float16>},
      {"batch_norm_inference/short/bfloat16", run_short<Inference<BFloat16>, BFloat16>},
      {"batch_norm_inference/limits/float32", run_limits<Inference<float>, float>},
      {"batch_norm_inference/limits/float64", run_limits<Inference<double>, double>},
      {"batch_norm_inference/limits/bfloat16", run_limits<Inference<BFloat16>, BFloat16>},
      {"batch_norm_inference/far/float32", run_far<Inference<float>, float>},
      {"batch_norm_inference/far/float64", run_far<Inference<double>, double>},
      {"batch_norm_inference/streamed/float32", run_streamed<Inference<float>, float>},
      {"batch_norm_inference/streamed/bfloat16", run_streamed<Inference<BFloat16>, BFloat16>},
      {"batch_norm_backward/short/float32", backward_short<float>},
      {"batch_norm_backward/short/float64", backward_short<double>},
      {"batch_norm_backward/short/float16", backward_short<Float16>},
      {"batch_norm_backward/short/bfloat16", backward_short<BFloat16>},
      {"batch_norm_backward/limits/float32", backward_limits<float>},
      {"batch_norm_backward/limits/float64", backward_limits<double>},
      {"batch_norm_backward/limits/bfloat16", backward_limits<BFloat16>},
      {"batch_norm_backward/far/float32", backward_far<float>},
      {"batch_norm_backward/far/float64", backward_far<double>},
      {"batch_norm_backward/streamed/float32", run_streamed<Backward<float>, float>},
      {"batch_norm_backward/streamed/bfloat16", run_streamed<Backward<BFloat16>, BFloat16>},
  };
}

}  // namespace normdrop::driver
