// Batch norm, forward, inference and backward, on every short length along each of its three
// dimensions and around the limits of tuning.h.
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
struct Forward : ForwardProblem<T, BatchNormSlices> {
  using ForwardProblem<T, BatchNormSlices>::ForwardProblem;
};
template <class T>
using Backward = BackwardProblem<T, BatchNormSlices>;

// The inference form at the statistics of the data, which are inputs here: a variance beyond the
// range of a double is infinite, one below it is 0.
template <class T>
struct Inference : Forward<T> {
  Inference(const Shape& shape, Data data, bool has_weight, bool has_bias)
      : Forward<T>(shape, data, has_weight, has_bias),
        running_mean(this->mean.values),
        running_var(this->var.values) {
    for (std::int64_t c = 0; c < shape.middle; ++c) {
      const auto i = static_cast<std::size_t>(c);
      const double var = running_var[i];
      normalise(this->x, this->parameters.weight, this->parameters.bias, this->slices, c,
                {running_mean[i], var, 1.0 / std::sqrt(var + this->eps)}, &this->y.values);
    }
  }
  std::vector<double> running_mean;
  std::vector<double> running_var;
};

template <class T>
void run(const OpTable& table, Memory& memory, Forward<T>& problem, const Variant& variant) {
  Case one("batch_norm_forward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const auto place = [&](int which, std::int64_t item) {
    return variant.place.of_argument(which, item);
  };
  Array<T> x(memory.of_argument(1), place(1, sizeof(T)), shape.outer, shape.row_length(),
             variant.layout.of_argument(variant.in_place ? 0 : 1), problem.x);
  Array<T> apart(memory.of_argument(0), place(0, sizeof(T)), shape.outer, shape.row_length(),
                 variant.layout.of_argument(0));
  Array<T> weight(memory.of_argument(2), place(2, sizeof(T)), problem.parameters.weight);
  Array<T> bias(memory.of_argument(3), place(3, sizeof(T)), problem.parameters.bias);
  Array<double> mean(memory.of_argument(4), place(4, 8), shape.middle);
  Array<double> var(memory.of_argument(5), place(5, 8), shape.middle);
  Array<double> inv_std(memory.of_argument(6), place(6, 8), shape.middle);
  Array<T>& y = variant.in_place ? x : apart;
  cpu::set_thread_count(variant.threads);
  table.batch_norm_forward({
      .dtype = dtype<T>,
      .batch = shape.outer,
      .channels = shape.middle,
      .inner = shape.inner,
      .x_batch_stride = x.stride(),
      .y_batch_stride = y.stride(),
      .eps = problem.eps,
      .x = x.data(),
      .weight = problem.parameters.has_weight() ? weight.data() : nullptr,
      .bias = problem.parameters.has_bias() ? bias.data() : nullptr,
      .y = y.data(),
      .mean = mean.data(),
      .var = var.data(),
      .inv_std = inv_std.data(),
  });
  problem.y.check(one, "y", y, tolerance<T>);
  if (!variant.in_place) x.check_unchanged(one, "x", problem.x);
  weight.check_unchanged(one, "weight", problem.parameters.weight);
  bias.check_unchanged(one, "bias", problem.parameters.bias);
  problem.mean.check(one, "mean", mean, tolerance<double>);
  problem.var.check(one, "var", var, tolerance<double>);
  problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
}

template <class T>
void run(const OpTable& table, Memory& memory, Inference<T>& problem, const Variant& variant) {
  Case one("batch_norm_inference %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const auto place = [&](int which, std::int64_t item) {
    return variant.place.of_argument(which, item);
  };
  Array<T> x(memory.of_argument(1), place(1, sizeof(T)), shape.outer, shape.row_length(),
             variant.layout.of_argument(variant.in_place ? 0 : 1), problem.x);
  Array<T> apart(memory.of_argument(0), place(0, sizeof(T)), shape.outer, shape.row_length(),
                 variant.layout.of_argument(0));
  Array<T> weight(memory.of_argument(2), place(2, sizeof(T)), problem.parameters.weight);
  Array<T> bias(memory.of_argument(3), place(3, sizeof(T)), problem.parameters.bias);
  Array<double> mean(memory.of_argument(4), place(4, 8), problem.running_mean);
  Array<double> var(memory.of_argument(5), place(5, 8), problem.running_var);
  Array<T>& y = variant.in_place ? x : apart;
  cpu::set_thread_count(variant.threads);
  table.batch_norm_inference({
      .dtype = dtype<T>,
      .batch = shape.outer,
      .channels = shape.middle,
      .inner = shape.inner,
      .x_batch_stride = x.stride(),
      .y_batch_stride = y.stride(),
      .eps = problem.eps,
      .x = x.data(),
      .mean = mean.data(),
      .var = var.data(),
      .weight = problem.parameters.has_weight() ? weight.data() : nullptr,
      .bias = problem.parameters.has_bias() ? bias.data() : nullptr,
      .y = y.data(),
  });
  problem.y.check(one, "y", y, tolerance<T>);
  if (!variant.in_place) x.check_unchanged(one, "x", problem.x);
  weight.check_unchanged(one, "weight", problem.parameters.weight);
  bias.check_unchanged(one, "bias", problem.parameters.bias);
  mean.check_unchanged(one, "mean", problem.running_mean);
  var.check_unchanged(one, "var", problem.running_var);
}

// Optional outputs: grad_weight and grad_bias.
template <class T>
void run(const OpTable& table, Memory& memory, Backward<T>& problem, const Variant& variant) {
  Case one("batch_norm_backward %s; %s", problem.text().c_str(), variant.text().c_str());
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
  table.batch_norm_backward({
      .dtype = dtype<T>,
      .frozen = problem.frozen,
      .batch = shape.outer,
      .channels = shape.middle,
      .inner = shape.inner,
      .grad_output_batch_stride = grad.stride(),
      .x_batch_stride = x.stride(),
      .grad_x_batch_stride = grad_x.stride(),
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

// Around the lengths at which a kernel takes another way.
template <class T>
std::vector<Shape> limit_shapes() {
  constexpr std::int64_t item = sizeof(T);
  std::vector<Shape> shapes;
  // Tiles of columns, blocks of rows, prefetched runs, chunks.
  for (const std::int64_t n : around(tuning::column_tile)) {
    shapes.insert(shapes.end(), {{5, n, 1}, {40, n, 1}, {3, n, 4}});
  }
  for (const std::int64_t n : around(2 * tuning::column_tile)) shapes.push_back({33, n, 1});
  for (const std::int64_t n : around(16384)) shapes.push_back({3, n, 1});
  for (const std::int64_t limit :
       {tuning::prefetched_run_bytes / item, tuning::chunk_bytes / item}) {
    for (const std::int64_t n : around(limit)) {
      shapes.insert(shapes.end(), {{9, 2, n}, {2, 30, n}, {1, 1, n}});
    }
  }
  for (const std::int64_t n : around(tuning::chunk_bytes / item / 7)) {
    shapes.insert(shapes.end(), {{n, 1, 7}, {2 * n, 3, 7}});
  }
  // Slots of rows, and rows that a column's centre is taken from.
  for (const std::int64_t limit : {tuning::row_slots, 16 * tuning::row_slots,
                                   tuning::row_slots * tuning::rows_per_slot_at_least,
                                   tuning::column_chunk_bytes / 8 / tuning::column_tile}) {
    for (const std::int64_t n : around(limit)) {
      shapes.insert(shapes.end(), {{n, 3, 1}, {n, 33, 1}, {n, 2, 2}});
    }
  }
  shapes.insert(shapes.end(), {{65 * 4096 + 1, 2, 1}, {67, 513, 1}});
  // One thread or several, few channels or many.
  for (const std::int64_t n : around(tuning::serial_elements / 16)) {
    shapes.insert(shapes.end(), {{n, 16, 1}, {4, 4, n}});
  }
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
  for (const Shape& shape : short_shapes(0)) {
    for (const Data data : {Data::ordinary, Data::far_from_zero}) {
      for (int p = 0; p < 4; ++p) {
        Backward<T> problem(shape, data, p % 2 == 0, p / 2 == 0);
        const bool all = !context.quick && data == Data::ordinary;
        for (const Variant& v : all ? every : variants.some(1, 1)) {
          run(context.table, memory, problem, v);
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
  for (const Shape& shape : limit_shapes<T>()) {
    const int parameters = turn++ % 4;
    const Data data = turn % 3 == 0 ? Data::extreme : Data::ordinary;
    Problem problem(shape, data, parameters % 2 == 0, parameters / 2 == 0);
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
    Backward<T> problem(shape, data, turn % 2 == 0, turn % 5 == 0);
    for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
      run(context.table, memory, problem, v);
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
      run(context.table, memory, problem, v);
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
        run(context.table, memory, problem, v);
      }
    }
  }
}

// Outputs that are written past the caches: rows of channels, few channels and many; rows on
// 64-byte boundaries with and without a gap.
template <class T>
void backward_streamed(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  const std::int64_t elements = tuning::streamed_output_bytes / std::int64_t{sizeof(T)};
  const auto run_all = [&](const Shape& shape, Data data, std::int64_t gap) {
    Backward<T> problem(shape, data, gap == 0, false);
    for (const Variant& v : variants.streamed(gap)) run(context.table, memory, problem, v);
  };
  run_all({elements / 1024 + 1, 1024, 1}, Data::ordinary, 0);
  run_all({elements / (64 * 784) + 1, 64, 784}, Data::ordinary, 0);
  if (context.quick) return;
  run_all({elements / 1021 + 1, 1021, 1}, Data::far_from_zero, 3);
  run_all({elements / 1008 + 1, 3, 336}, Data::ordinary, 16);
  run_all({elements / (64 * 144) + 1, 64, 144}, Data::far_from_zero, 0);
}

}  // namespace

std::vector<Group> batch_norm_groups() {
  return {
      {"batch_norm_forward/short/float32", run_short<Forward<float>, float>},
      {"batch_norm_forward/short/float64", run_short<Forward<double>, double>},
      {"batch_norm_forward/limits/float32", run_limits<Forward<float>, float>},
      {"batch_norm_forward/limits/float64", run_limits<Forward<double>, double>},
      {"batch_norm_forward/far/float32", run_far<Forward<float>, float>},
      {"batch_norm_forward/far/float64", run_far<Forward<double>, double>},
      {"batch_norm_inference/short/float32", run_short<Inference<float>, float>},
      {"batch_norm_inference/short/float64", run_short<Inference<double>, double>},
      {"batch_norm_inference/limits/float32", run_limits<Inference<float>, float>},
      {"batch_norm_inference/limits/float64", run_limits<Inference<double>, double>},
      {"batch_norm_inference/far/float32", run_far<Inference<float>, float>},
      {"batch_norm_inference/far/float64", run_far<Inference<double>, double>},
      {"batch_norm_backward/short/float32", backward_short<float>},
      {"batch_norm_backward/short/float64", backward_short<double>},
      {"batch_norm_backward/limits/float32", backward_limits<float>},
      {"batch_norm_backward/limits/float64", backward_limits<double>},
      {"batch_norm_backward/far/float32", backward_far<float>},
      {"batch_norm_backward/far/float64", backward_far<double>},
      {"batch_norm_backward/streamed/float32", backward_streamed<float>},
  };
}

}  // namespace normdrop::driver
