// Layer norm forward: every number of threads that share a row, clusters, longer rows in runs,
// columns with one slot and several.
#include "cuda/groups.h"
#include "layer_norm_calls.h"

namespace normdrop::driver {
namespace {

using namespace layer_norm;

// Runs each shape by few variants; parameters and data change from shape to shape.
template <class T, class P>
void run_shapes(const Context& context, const std::vector<Shape>& shapes) {
  Memory memory;
  const std::vector<Variant> variants = few_variants(sizeof(T), 2, context.quick);
  int turn = 0;
  for (const Shape& shape : shapes) {
    const Data data = turn % 3 == 2 ? Data::far_from_zero : Data::ordinary;
    Forward<T, P> problem(shape, data, turn % 4 != 1, turn % 4 != 2);
    for (const Variant& v : variants) run(context, memory, problem, v);
    ++turn;
  }
}

// Threads of a row, and one row more than a block has.
template <class T, class P>
void rows(const Context& context) {
  const std::int64_t vector = vector_of<T>;
  std::vector<Shape> shapes{{2, 1, 1}, {3, 2, 1}, {1, 3, 1}, {33, vector, 1}, {1, vector + 1, 1}};
  for (const std::int64_t threads : {4, 8, 16, 32, 128, 256}) {
    const std::int64_t full = threads * forward_elements<T>;
    const std::int64_t rows_of_block = threads < 128 ? 128 / threads : 1;
    shapes.push_back({rows_of_block + 1, full, 1});
    shapes.push_back({rows_of_block + 2, full - 1, 1});
    shapes.push_back({1, full / 2 + 1, 1});
    shapes.push_back({2, full - 3 * vector, 1});
    shapes.push_back({3, full / 2 + vector, 1});
  }
  run_shapes<T, P>(context, shapes);
}

template <class T, class P>
std::vector<Shape> long_rows() {
  const std::int64_t chunk = 256 * forward_elements<T>;
  return {{2, chunk + 1, 1},     {3, chunk + vector_of<T>, 1}, {2, 2 * chunk, 1},
          {1, 3 * chunk - 1, 1}, {2, 5 * chunk / 2, 1},        {1, 7 * chunk + 40, 1},
          {1, 15 * chunk + 8, 1}};
}

template <class T, class P>
void clusters(const Context& context) {
  std::vector<Shape> shapes = long_rows<T, P>();
  shapes.push_back({1, 16 * 256 * forward_elements<T>, 1});
  run_shapes<T, P>(context, shapes);
}

// Blocks of several chunks: in a cluster, the last block with fewer or as many, and alone on a card
// without clusters.
template <class T, class P>
void shared_memory(const Context& context) {
  const std::int64_t chunk = 256 * forward_elements<T>;
  run_shapes<T, P>(context, {{1, 16 * chunk + 1, 1}, {2, 17 * chunk - 8, 1}, {1, 24 * chunk, 1}});
  const WithoutClusters other_card(SharedMemory::plenty);
  run_shapes<T, P>(context, {{3, chunk + 1, 1}, {2, 2 * chunk, 1}, {2, 3 * chunk - 1, 1}});
}

// Longer than a cluster, and what would have a cluster on a card without: both in runs.
template <class T, class P>
void runs(const Context& context) {
  run_shapes<T, P>(context, {{1, 70 * 256 * forward_elements<T>, 1}});
  const WithoutClusters other_card(SharedMemory::little);
  run_shapes<T, P>(context, long_rows<T, P>());
}

// A cluster's row has the bits of the same row in runs.
template <class T, class P>
void cards(const Context& context) {
  Memory memory;
  const Variant dense = few_variants(sizeof(T), 2, true).front();
  for (const Shape& shape : long_rows<T, P>()) {
    Forward<T, P> problem(shape, Data::ordinary, true, true);
    run(context, memory, problem, dense);
    for (const auto shared_memory : {SharedMemory::plenty, SharedMemory::little}) {
      const WithoutClusters other_card(shared_memory);
      run(context, memory, problem, dense);
    }
  }
}

template <class T, class P>
void columns(const Context& context) {
  std::vector<Shape> shapes{{1, 70001, 2}, {1, 66000, 4}, {5, 1, 3}, {1, 2, 2}};
  for (const std::int64_t reduced : {3, 8, 127, 129, 256, 257, 600}) {
    shapes.push_back({2, reduced, 3});
    shapes.push_back({1, reduced, 33});
    shapes.push_back({2, reduced, 4});
  }
  shapes.insert(shapes.end(), {{3, 20, 128}, {2, 20, 132}, {1, 530, 260}, {1, 300, 131}});
  run_shapes<T, P>(context, shapes);
}

template <class T, class P>
void edges(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{0, 5, 1}, Shape{3, 0, 1}, Shape{2, 0, 3}, Shape{2, 5, 0},
                             Shape{0, 0, 1}, Shape{7, 70, 1}, Shape{7, 3, 9}, Shape{3, 1100, 1}}) {
    for (const Data data : {Data::ordinary, Data::infinite, Data::extreme}) {
      if (data == Data::extreme && sizeof(T) == 2) continue;
      Forward<T, P> problem(shape, data, true, true);
      for (const Variant& v : few_variants(sizeof(T), 2, context.quick)) {
        run(context, memory, problem, v);
      }
    }
  }
}

template <class T, class P>
void shifts(const Context& context) {
  Memory memory;
  for (const Shape& shape : shifted_rows(vector_of<T>)) {
    Forward<T, P> problem(shape, Data::ordinary, true, true);
    for (const Variant& v : shifted_variants(sizeof(T), 2)) run(context, memory, problem, v);
  }
}

// As many rows as a grid of 16 bits has blocks, and more.
template <class T, class P>
void many(const Context& context) {
  Memory memory;
  const std::vector<Variant> variants = few_variants(sizeof(T), 2, true);
  for (const Shape& shape : {Shape{65535, 3, 1}, Shape{65537, 4, 1}}) {
    Forward<T, P> problem(shape, Data::ordinary, true, true);
    run(context, memory, problem, variants[static_cast<std::size_t>(shape.outer % 4 / 3)]);
  }
}

template <class T, class P>
void far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const Shape& shape : {Shape{6, 37, 1}, Shape{6, 9000, 1}, Shape{6, 7, 5}}) {
    Forward<T, P> problem(shape, Data::ordinary, true, true);
    for (const Variant& v : variants.far(shape.row_length())) run(context, memory, problem, v);
  }
}

template <class T, class P>
void runs_far(const Context& context) {
  const WithoutClusters other_card(SharedMemory::little);
  far<T, P>(context);
}

template <class T, class P>
void add_groups(const std::string& dtype, std::vector<Group>* groups) {
  const std::string name = "layer_norm_forward/";
  groups->push_back({name + "rows/" + dtype, rows<T, P>});
  groups->push_back({name + "clusters/" + dtype, clusters<T, P>});
  groups->push_back({name + "shared-memory/" + dtype, shared_memory<T, P>});
  groups->push_back({name + "runs/" + dtype, runs<T, P>});
  groups->push_back({name + "columns/" + dtype, columns<T, P>});
  groups->push_back({name + "edges/" + dtype, edges<T, P>});
  groups->push_back({name + "shifts/" + dtype, shifts<T, P>});
}

}  // namespace

std::vector<Group> layer_norm_groups() {
  std::vector<Group> groups;
  add_groups<float, float>("float32", &groups);
  add_groups<double, double>("float64", &groups);
  add_groups<Float16, Float16>("float16", &groups);
  add_groups<BFloat16, BFloat16>("bfloat16", &groups);
  add_groups<Float16, float>("float16-float32", &groups);
  add_groups<BFloat16, float>("bfloat16-float32", &groups);
  groups.push_back({"layer_norm_forward/cards/float32", cards<float, float>});
  groups.push_back({"layer_norm_forward/cards/float64", cards<double, double>});
  groups.push_back({"layer_norm_forward/many/float32", many<float, float>});
  groups.push_back({"layer_norm_forward/many/bfloat16", many<BFloat16, BFloat16>});
  groups.push_back({"layer_norm_forward/far/float32", far<float, float>});
  groups.push_back({"layer_norm_forward/far/float16", far<Float16, Float16>});
  groups.push_back({"layer_norm_forward/far-runs/float32", runs_far<float, float>});
  return groups;
}

}  // namespace normdrop::driver
