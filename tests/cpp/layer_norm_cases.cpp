// Layer norm, forward and backward, on every short length along each of its three dimensions and
// around the limits of tuning.h.
#include "cpu/parallel.h"
#include "cpu/tuning.h"
#include "norm_problems.h"
#include "variants.h"

namespace normdrop::driver {
namespace {

namespace tuning = cpu::tuning;

template <class T>
constexpr DType dtype = sizeof(T) == 4 ? DType::float32 : DType::float64;

template <class T>
using Forward = ForwardProblem<T, LayerNormSlices>;
template <class T>
using Backward = BackwardProblem<T, LayerNormSlices>;

// Optional outputs: mean and inv_std.
template <class T>
void run(const OpTable& table, Memory& memory, Forward<T>& problem, const Variant& variant) {
  Case one("layer_norm_forward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const auto place = [&](int which, std::int64_t item) {
    return variant.place.of_argument(which, item);
  };
  const Layout x_layout = variant.layout.of_argument(variant.in_place ? 0 : 1);
  Array<T> x(memory.of_argument(1), place(1, sizeof(T)), shape.outer, shape.row_length(), x_layout,
             problem.x);
  Array<T> apart(memory.of_argument(0), place(0, sizeof(T)), shape.outer, shape.row_length(),
                 variant.layout.of_argument(0));
  Array<T> weight(memory.of_argument(2), place(2, sizeof(T)), problem.parameters.weight);
  Array<T> bias(memory.of_argument(3), place(3, sizeof(T)), problem.parameters.bias);
  Array<double> mean(memory.of_argument(4), place(4, 8), problem.slices.slices());
  Array<double> inv_std(memory.of_argument(5), place(5, 8), problem.slices.slices());
  Array<T>& y = variant.in_place ? x : apart;
  cpu::set_thread_count(variant.threads);
  table.layer_norm_forward({
      .dtype = dtype<T>,
      .outer = shape.outer,
      .reduced = shape.middle,
      .inner = shape.inner,
      .x_outer_stride = x.stride(),
      .y_outer_stride = y.stride(),
      .eps = problem.eps,
      .x = x.data(),
      .weight = problem.parameters.has_weight() ? weight.data() : nullptr,
      .bias = problem.parameters.has_bias() ? bias.data() : nullptr,
      .y = y.data(),
      .mean = variant.wants(0) ? mean.data() : nullptr,
      .inv_std = variant.wants(1) ? inv_std.data() : nullptr,
  });
  problem.y.check(one, "y", y, tolerance<T>);
  if (!variant.in_place) x.check_unchanged(one, "x", problem.x);
  weight.check_unchanged(one, "weight", problem.parameters.weight);
  bias.check_unchanged(one, "bias", problem.parameters.bias);
  if (variant.wants(0)) problem.mean.check(one, "mean", mean, tolerance<double>);
  if (variant.wants(1)) problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
}

// Optional outputs: grad_weight and grad_bias.
template <class T>
void run(const OpTable& table, Memory& memory, Backward<T>& problem, const Variant& variant) {
  Case one("layer_norm_backward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const auto place = [&](int which, std::int64_t item) {
    return variant.place.of_argument(which, item);
  };
  const auto rows = [&](int which) { return variant.layout.of_argument(which); };
  Array<T> grad(memory.of_argument(1), place(1, sizeof(T)), shape.outer, shape.row_length(),
                rows(variant.in_place ? 0 : 1), problem.grad_output);
  Array<T> apart(memory.of_argument(0), place(0, sizeof(T)), shape.outer, shape.row_length(),
                 rows(0));
  Array<T> x(memory.of_argument(2), place(2, sizeof(T)), shape.outer, shape.row_length(), rows(2),
             problem.x);
  Array<T> weight(memory.of_argument(3), place(3, sizeof(T)), problem.parameters.weight);
  Array<double> mean(memory.of_argument(4), place(4, 8), problem.mean);
  Array<double> inv_std(memory.of_argument(5), place(5, 8), problem.inv_std);
  Array<T> grad_weight(memory.of_argument(6), place(6, sizeof(T)), shape.middle);
  Array<T> grad_bias(memory.of_argument(7), place(7, sizeof(T)), shape.middle);
  Array<T>& grad_x = variant.in_place ? grad : apart;
  cpu::set_thread_count(variant.threads);
  table.layer_norm_backward({
      .dtype = dtype<T>,
      .outer = shape.outer,
      .reduced = shape.middle,
      .inner = shape.inner,
      .grad_output_outer_stride = grad.stride(),
      .x_outer_stride = x.stride(),
      .grad_x_outer_stride = grad_x.stride(),
      .grad_output = grad.data(),
      .x = x.data(),
      .mean = mean.data(),
      .inv_std = inv_std.data(),
      .weight = problem.parameters.has_weight() ? weight.data() : nullptr,
      .grad_x = grad_x.data(),
      .grad_weight = variant.wants(0) ? grad_weight.data() : nullptr,
      .grad_bias = variant.wants(1) ? grad_bias.data() : nullptr,
  });
  problem.grad_x.check(one, "grad_x", grad_x, tolerance<T>);
  if (!variant.in_place) grad.check_unchanged(one, "grad_output", problem.grad_output);
  x.check_unchanged(one, "x", problem.x);
  weight.check_unchanged(one, "weight", problem.parameters.weight);
  mean.check_unchanged(one, "mean", problem.mean);
  inv_std.check_unchanged(one, "inv_std", problem.inv_std);
  if (variant.wants(0)) problem.grad_weight.check(one, "grad_weight", grad_weight, tolerance<T>);
  if (variant.wants(1)) problem.grad_bias.check(one, "grad_bias", grad_bias, tolerance<T>);
}

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

// Around the lengths at which a kernel takes another way.
template <class T>
std::vector<Shape> limit_shapes() {
  constexpr std::int64_t item = sizeof(T);
  std::vector<Shape> shapes;
  for (const std::int64_t limit :
       {tuning::column_tile, 2 * tuning::column_tile, tuning::chunk_bytes / item}) {
    for (const std::int64_t n : around(limit)) {
      shapes.insert(shapes.end(), {{3, n, 1}, {9, n, 1}, {40, n, 1}, {2, 5, n}, {2, n, 5}});
    }
  }
  // Chunks of long rows, and rows beyond a backward pass's cache.
  for (const std::int64_t limit : {16 * tuning::chunk_bytes / item, tuning::long_row_bytes / item,
                                   17 * tuning::chunk_bytes / item}) {
    for (const std::int64_t n : around(limit)) {
      shapes.insert(shapes.end(), {{1, n, 1}, {5, n, 1}});
    }
  }
  shapes.push_back({29, 16 * tuning::chunk_bytes / item + 1, 1});
  // Chunks of rows in tiles of columns.
  for (const std::int64_t n : around(tuning::column_chunk_bytes / 8 / tuning::column_tile)) {
    shapes.insert(shapes.end(), {{2, n, tuning::column_tile}, {1, n, tuning::column_tile + 1}});
  }
  for (const std::int64_t n : around(tuning::column_chunk_bytes / 8 / 5)) {
    shapes.push_back({1, n, 5});
  }
  // Slots of rows.
  for (const std::int64_t limit :
       {16 * tuning::row_slots, tuning::row_slots * tuning::rows_per_slot_at_least}) {
    for (const std::int64_t n : around(limit)) {
      shapes.insert(shapes.end(), {{n, 3, 1}, {n, 33, 1}, {n, 3, 2}});
    }
  }
  // One thread or several.
  for (const std::int64_t n : around(tuning::serial_elements / 16)) shapes.push_back({16, n, 1});
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
          run(context.table, memory, problem, v);
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
          run(context.table, memory, problem, v);
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
  for (const Shape& shape : limit_shapes<T>()) {
    const int parameters = turn++ % 4;
    const Data data = turn % 3 == 0 ? Data::extreme : Data::ordinary;
    Forward<T> problem(shape, data, parameters % 2 == 0, parameters / 2 == 0);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context.table, memory, problem, v);
    }
  }
}

template <class T>
void backward_limits(const Context& context) {
  Memory memory;
  Variants variants(sizeof(T), 2);
  int turn = 0;
  for (const Shape& shape : limit_shapes<T>()) {
    const Data data = turn++ % 3 == 0 ? Data::far_from_zero : Data::ordinary;
    Backward<T> problem(shape, data, turn % 2 == 0, false);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context.table, memory, problem, v);
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
      run(context.table, memory, problem, v);
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
        run(context.table, memory, problem, v);
      }
    }
  }
}

// Rows of 1024 elements, and shorter ones with a gap, of an output that is written past the caches.
template <class T>
void backward_streamed(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const std::int64_t gap : {0, 3}) {
    const std::int64_t length = 1024 - gap;
    const std::int64_t rows = tuning::streamed_output_bytes / (length * std::int64_t{sizeof(T)});
    Backward<T> problem({rows + 2, length, 1}, Data::ordinary, gap == 0, false);
    for (const Variant& v : variants.streamed(gap)) run(context.table, memory, problem, v);
    if (context.quick) return;
  }
}

}  // namespace

std::vector<Group> layer_norm_groups() {
  return {
      {"layer_norm_forward/short/float32", forward_short<float>},
      {"layer_norm_forward/short/float64", forward_short<double>},
      {"layer_norm_forward/limits/float32", forward_limits<float>},
      {"layer_norm_forward/limits/float64", forward_limits<double>},
      {"layer_norm_forward/far/float32", forward_far<float>},
      {"layer_norm_forward/far/float64", forward_far<double>},
      {"layer_norm_backward/short/float32", backward_short<float>},
      {"layer_norm_backward/short/float64", backward_short<double>},
      {"layer_norm_backward/limits/float32", backward_limits<float>},
      {"layer_norm_backward/limits/float64", backward_limits<double>},
      {"layer_norm_backward/far/float32", backward_far<float>},
      {"layer_norm_backward/far/float64", backward_far<double>},
      {"layer_norm_backward/streamed/float32", backward_streamed<float>},
  };
}

}  // namespace normdrop::driver
