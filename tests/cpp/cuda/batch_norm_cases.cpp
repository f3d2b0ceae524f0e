// Batch norm: channels as runs (several whole runs of a chunk, one, a part of one) and as columns.
#include "batch_norm_calls.h"
#include "cuda/groups.h"

namespace normdrop::driver {
namespace {

using namespace batch_norm;

template <class Problem, unsigned outputs, class Make>
void run_shapes(const Context& context, const std::vector<Shape>& shapes, std::int64_t item_bytes,
                Make&& make) {
  Memory memory;
  const std::vector<Variant> variants = few_variants(item_bytes, outputs, context.quick);
  int turn = 0;
  for (const Shape& shape : shapes) {
    Problem problem = make(shape, turn % 3 == 2 ? Data::far_from_zero : Data::ordinary, turn);
    for (const Variant& v : variants) run(context, memory, problem, v);
    ++turn;
  }
}

template <class T>
std::vector<Shape> runs() {
  const std::int64_t chunk = 256 * forward_elements<T>;
  return {{3, 4, 9},
          {3, 7, 9},
          {1, 1, 2},
          {1, 3, 5},
          {5, 2, 7},
          {4, 3, 16},
          {chunk / 5 + 3, 2, 5},
          {chunk / 8 + 1, 1, 8},
          {3, 2, chunk / 2},
          {3, 2, chunk / 2 + 1},
          {2, 1, chunk},
          {2, 2, chunk + 1},
          {3, 1, 2 * chunk + 8},
          {17, 1, chunk + 8},
          {40, 1, chunk - 3},
          {20, 1, chunk - 3},
          {9, 1, 2 * chunk},
          {3, 20, 49}};
}

// Channels of several chunks: in a cluster on one card, in a block on another, through memory on a
// third, all with the same bits.
template <class Problem, unsigned outputs, class T, class Make>
void run_on_all_cards(const Context& context, Make&& make) {
  const std::int64_t chunk = 256 * forward_elements<T>;
  const std::vector<Shape> shapes{
      {chunk / 5 + 3, 2, 5},
      {chunk / 8 + 1, 1, 8},
      {2, 2, chunk + 1},
      {3, 1, 2 * chunk + 8},
      {5, 4, chunk - 3}  // 20 slots end just behind a multiple of 256 bytes
  };
  Memory memory;
  int turn = 0;
  for (const Shape& shape : shapes) {
    Problem problem = make(shape, Data::ordinary, turn);
    for (const Variant& v : few_variants(sizeof(T), outputs, context.quick)) {
      run(context, memory, problem, v);
      for (const auto shared_memory : {SharedMemory::plenty, SharedMemory::little}) {
        const WithoutClusters other_card(shared_memory);
        run(context, memory, problem, v);
      }
    }
    ++turn;
  }
}

std::vector<Shape> columns() {
  std::vector<Shape> shapes{{70001, 2, 1}, {66000, 4, 1}, {1, 1, 1}, {1, 5, 1}};
  for (const std::int64_t batch : {2, 7, 9, 128, 129, 256, 257, 600, 2100}) {
    shapes.push_back({batch, 3, 1});
    shapes.push_back({batch, 36, 1});
  }
  shapes.insert(shapes.end(), {{300, 131, 1}, {20, 128, 1}, {20, 132, 1}, {5, 1000, 1}});
  return shapes;
}

template <class Problem>
Problem forward_problem(const Shape& shape, Data data, int turn) {
  return Problem(shape, data, turn % 4 != 1, turn % 4 != 2);
}

template <class T, class P>
Backward<T, P> backward_problem(const Shape& shape, Data data, int turn) {
  return Backward<T, P>(shape, data, turn % 4 != 1, turn % 5 == 3);
}

template <class Problem, class T>
void forward_runs(const Context& context) {
  run_shapes<Problem, 0>(context, runs<T>(), sizeof(T), forward_problem<Problem>);
  run_on_all_cards<Problem, 0, T>(context, forward_problem<Problem>);
}
template <class Problem, class T>
void forward_columns(const Context& context) {
  run_shapes<Problem, 0>(context, columns(), sizeof(T), forward_problem<Problem>);
}
template <class T, class P>
void backward_runs(const Context& context) {
  run_shapes<Backward<T, P>, 2>(context, runs<T>(), sizeof(T), backward_problem<T, P>);
  run_on_all_cards<Backward<T, P>, 2, T>(context, backward_problem<T, P>);
}
template <class T, class P>
void backward_columns(const Context& context) {
  run_shapes<Backward<T, P>, 2>(context, columns(), sizeof(T), backward_problem<T, P>);
}

template <class T, class P>
void backward_edges(const Context& context) {
  run_shapes<Backward<T, P>, 2>(context, {{0, 3, 1}, {0, 3, 5}, {2, 0, 4}, {2, 5, 0}}, sizeof(T),
                                backward_problem<T, P>);
}

// Runs that are whole vectors and others, in a block, in a cluster and through memory; columns.
template <class Problem, unsigned outputs, class T, class Make>
void run_shifted(const Context& context, Make&& make) {
  const std::int64_t vector = vector_of<T>;
  const std::int64_t chunk = 256 * forward_elements<T>;
  Memory memory;
  int turn = 0;
  for (const Shape& shape : {Shape{9, 3, 5 * vector}, Shape{9, 3, 5 * vector + 3}, Shape{20, 3, 3},
                             Shape{2, 2, chunk + vector}, Shape{9, 40, 1}, Shape{9, 37, 1}}) {
    Problem problem = make(shape, Data::ordinary, turn++);
    for (const Variant& v : shifted_variants(sizeof(T), outputs)) {
      run(context, memory, problem, v);
      const WithoutClusters other_card(SharedMemory::little);
      run(context, memory, problem, v);
    }
  }
}

template <class Problem, class T>
void forward_shifts(const Context& context) {
  run_shifted<Problem, 0, T>(context, forward_problem<Problem>);
}
template <class T, class P>
void backward_shifts(const Context& context) {
  run_shifted<Backward<T, P>, 2, T>(context, backward_problem<T, P>);
}

// Infinite elements, and squares that overflow, of float32 and float64.
template <class Problem, class T>
void forward_edges(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{40, 5, 1}, Shape{4, 5, 9}, Shape{2, 4, 1000}}) {
    for (const Data data : {Data::infinite, Data::extreme}) {
      Problem problem(shape, data, true, true);
      for (const Variant& v : few_variants(sizeof(T), 0, true)) run(context, memory, problem, v);
    }
  }
}

const Shape far_shapes[] = {{6, 37, 1}, {6, 3, 13}, {6, 40, 2}, {6, 2, 8200}};

template <class Problem, class T>
void forward_far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 0);
  for (const Shape& shape : far_shapes) {
    Problem problem(shape, Data::ordinary, true, true);
    for (const Variant& v : variants.far(shape.row_length())) run(context, memory, problem, v);
  }
}

template <class T, class P>
void backward_far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const Shape& shape : far_shapes) {
    Backward<T, P> problem(shape, Data::ordinary, true, false);
    for (const Variant& v : variants.far(shape.row_length())) run(context, memory, problem, v);
  }
}

template <class T, class P>
void add_groups(const std::string& dtype, std::vector<Group>* groups) {
  const auto add = [&](const char* name, void (*run)(const Context&)) {
    groups->push_back({name + dtype, run});
  };
  add("batch_norm_forward/runs/", forward_runs<Forward<T, P>, T>);
  add("batch_norm_forward/columns/", forward_columns<Forward<T, P>, T>);
  add("batch_norm_inference/runs/", forward_runs<Inference<T, P>, T>);
  add("batch_norm_inference/columns/", forward_columns<Inference<T, P>, T>);
  add("batch_norm_backward/runs/", backward_runs<T, P>);
  add("batch_norm_backward/columns/", backward_columns<T, P>);
  add("batch_norm_backward/edges/", backward_edges<T, P>);
  add("batch_norm_forward/shifts/", forward_shifts<Forward<T, P>, T>);
  add("batch_norm_inference/shifts/", forward_shifts<Inference<T, P>, T>);
  add("batch_norm_backward/shifts/", backward_shifts<T, P>);
}

}  // namespace

std::vector<Group> batch_norm_groups() {
  std::vector<Group> groups;
  add_groups<float, float>("float32", &groups);
  add_groups<double, double>("float64", &groups);
  add_groups<Float16, Float16>("float16", &groups);
  add_groups<BFloat16, BFloat16>("bfloat16", &groups);
  add_groups<Float16, float>("float16-float32", &groups);
  add_groups<BFloat16, float>("bfloat16-float32", &groups);
  groups.push_back({"batch_norm_forward/edges/float32", forward_edges<Forward<float>, float>});
  groups.push_back({"batch_norm_forward/edges/float64", forward_edges<Forward<double>, double>});
  groups.push_back({"batch_norm_forward/far/float32", forward_far<Forward<float>, float>});
  groups.push_back({"batch_norm_inference/far/float32", forward_far<Inference<float>, float>});
  groups.push_back({"batch_norm_backward/far/float32", backward_far<float, float>});
  return groups;
}

}  // namespace normdrop::driver
