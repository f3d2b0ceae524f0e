// Layer norm, forward and backward, on every short length along each of its three dimensions and
// around the limits of tuning.h.
#include "cpu/tuning.h"
#include "layer_norm_calls.h"

namespace normdrop::driver {
namespace {

namespace tuning = cpu::tuning;
using namespace layer_norm;

std::vector<Shape> short_shapes() {
  std::vector<Shape> shapes;
  for (std::int64_t n = 0; n <= longest_short_length; ++n) {
    const Shape of_length[] = {
        {1, n, 1}, {5, n, 1},  {9, n, 1}, {2, n, 3},  // along the reduced dimension
        {2, 5, n}, {1, 1, n},                         // along inner
        {n, 5, 1}, {n, 19, 1}, {n, 2, 3},             // along outer
    };
    shapes.insert(shapes.end(), std::begin(of_length), std::end(of_length));
  }
  return shapes;
}

// Around the lengths at which a kernel takes another way: tiles of columns, chunks and slots of
// rows, rows too long for a cache, one thread or several.
std::vector<Shape> limit_shapes() {
  std::vector<Shape> shapes;
  for (const std::int64_t n : around_powers_of_two(7, 13)) {
    shapes.insert(shapes.end(), {{9, n, 1}, {2, 5, n}, {1, n, 8}, {n, 3, 1}, {n, 2, 3}});
  }
  for (const std::int64_t n : around_powers_of_two(8, 12)) shapes.push_back({n, 33, 1});
  for (const std::int64_t n : around_powers_of_two(9, 11)) shapes.push_back({40, n, 1});
  for (const std::int64_t n : around_powers_of_two(12, 17)) {
    shapes.insert(shapes.end(), {{1, n, 1}, {5, n, 1}});
  }
  for (const std::int64_t n : around_powers_of_two(3, 6)) {
    shapes.insert(shapes.end(), {{2, n, 1024}, {1, n, 1025}});
  }
  shapes.insert(shapes.end(), {{28, 32769, 1}, {29, 65537, 1}});  // few long rows, or many
  return shapes;
}

template <class T>
void forward_short(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 2);
  const std::vector<Variant> every = variants.every();
  for (const Shape& shape : short_shapes()) {
    for (const Data data : {Data::ordinary, Data::far_from_zero, Data::infinite, Data::extreme}) {
      for (int p = 0; p < 4; ++p) {
        Forward<T> problem(shape, data, p % 2 == 0, p / 2 == 0);
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
  for (const Shape& shape : short_shapes()) {
    for (const Data data : {Data::ordinary, Data::far_from_zero}) {
      for (const bool weight : {true, false}) {
        Backward<T> problem(shape, data, weight, false);
        const bool all = !context.quick && data == Data::ordinary;
        for (const Variant& v : all ? every : variants.some(1, 2)) {
          run(context, memory, problem, v);
        }
      }
    }
  }
}

template <class T>
void forward_limits(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 2);
  int turn = 0;
  for (const Shape& shape : limit_shapes()) {
    const int parameters = turn++ % 4;
    const Data data = turn % 3 == 0 ? Data::extreme : Data::ordinary;
    Forward<T> problem(shape, data, parameters % 2 == 0, parameters / 2 == 0);
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
    Backward<T> problem(shape, data, turn % 2 == 0, false);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context, memory, problem, v);
    }
  }
}

template <class T>
void forward_far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const Shape& shape : {Shape{5, 37, 1}, Shape{5, 3, 13}, Shape{10, 5, 1}}) {
    Forward<T> problem(shape, Data::ordinary, true, true);
    for (const Variant& v : variants.far(shape.row_length())) {
      run(context, memory, problem, v);
    }
  }
}

template <class T>
void backward_far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const Shape& shape : {Shape{6, 37, 1}, Shape{5, 3, 13}}) {
    for (const Data data : {Data::ordinary, Data::far_from_zero}) {
      Backward<T> problem(shape, data, true, false);
      for (const Variant& v : variants.far(shape.row_length())) {
        run(context, memory, problem, v);
      }
    }
  }
}

// Outputs that are written past the caches: rows of one group and many, rows longer than a chunk,
// few rows cut into chunks, and rows with a gap.
template <class T>
void forward_streamed(const Context& context) {
  if (context.quick && sizeof(T) == 2) return;
  Memory memory;
  const Variants variants(sizeof(T), 2);
  const std::int64_t elements = tuning::streamed_output_bytes / std::int64_t{sizeof(T)};
  const auto run_all = [&](std::int64_t length, Data data, std::int64_t gap) {
    Forward<T> problem({elements / length + 2, length, 1}, data, gap == 0, data == Data::ordinary);
    for (const Variant& v : variants.streamed(gap)) run(context, memory, problem, v);
  };
  run_all(1024, Data::ordinary, 0);
  run_all(64, Data::ordinary, 0);
  if (context.quick) return;
  run_all(1021, Data::far_from_zero, 3);
  run_all(48, Data::far_from_zero, 16);
  run_all(6400, Data::ordinary, 0);
  run_all(elements, Data::ordinary, 0);
}

// Rows of 1024 elements, and shorter ones with a gap, of an output that is written past the caches.
template <class T>
void backward_streamed(const Context& context) {
  if (context.quick && sizeof(T) == 2) return;
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const std::int64_t gap : {0, 3}) {
    const std::int64_t length = 1024 - gap;
    const std::int64_t rows = tuning::streamed_output_bytes / (length * std::int64_t{sizeof(T)});
    Backward<T> problem({rows + 2, length, 1}, Data::ordinary, gap == 0, false);
    for (const Variant& v : variants.streamed(gap)) run(context, memory, problem, v);
    if (context.quick) return;
  }
}

}  // namespace

// The half types take the same ways at the same limits: one of them is enough there.
std::vector<Group> layer_norm_groups() {
  return {
      {"layer_norm_forward/short/float32", forward_short<float>},
      {"layer_norm_forward/short/float64", forward_short<double>},
      {"layer_norm_forward/short/float16", forward_short<Float16>},
      {"layer_norm_forward/short/bfloat16", forward_short<BFloat16>},
      {"layer_norm_forward/limits/float32", forward_limits<float>},
      {"layer_norm_forward/limits/float64", forward_limits<double>},
      {"layer_norm_forward/limits/bfloat16", forward_limits<BFloat16>},
      {"layer_norm_forward/far/float32", forward_far<float>},
      {"layer_norm_forward/far/float64", forward_far<double>},
      {"layer_norm_forward/streamed/float32", forward_streamed<float>},
      {"layer_norm_forward/streamed/bfloat16", forward_streamed<BFloat16>},
      {"layer_norm_backward/short/float32", backward_short<float>},
      {"layer_norm_backward/short/float64", backward_short<double>},
      {"layer_norm_backward/short/float16", backward_short<Float16>},
      {"layer_norm_backward/short/bfloat16", backward_short<BFloat16>},
      {"layer_norm_backward/limits/float32", backward_limits<float>},
      {"layer_norm_backward/limits/float64", backward_limits<double>},
      {"layer_norm_backward/limits/bfloat16", backward_limits<BFloat16>},
      {"layer_norm_backward/far/float32", backward_far<float>},
      {"layer_norm_backward/far/float64", backward_far<double>},
      {"layer_norm_backward/streamed/float32", backward_streamed<float>},
      {"layer_norm_backward/streamed/bfloat16", backward_streamed<BFloat16>},
  };
}

}  // namespace normdrop::driver
