// Layer norm backward: every number of threads that share a row, with one row of a slot and
// several, clusters, longer rows in runs, columns with one slot and several.
#include "cuda/groups.h"
#include "layer_norm_calls.h"

namespace normdrop::driver {
namespace {

using namespace layer_norm;

template <class T, class P>
void run_shapes(const Context& context, const std::vector<Shape>& shapes) {
  Memory memory;
  const std::vector<Variant> variants = few_variants(sizeof(T), 2, context.quick);
  int turn = 0;
  for (const Shape& shape : shapes) {
    const Data data = turn % 3 == 2 ? Data::far_from_zero : Data::ordinary;
    Backward<T, P> problem(shape, data, turn % 4 != 1, false);
    for (const Variant& v : variants) run(context, memory, problem, v);
    ++turn;
  }
}

template <class T, class P>
void rows(const Context& context) {
  const std::int64_t vector = vector_of<T>;
  std::vector<Shape> shapes{{2, 1, 1}, {3, 2, 1}, {1, 3, 1}, {33, vector, 1}, {1, vector + 1, 1}};
  for (const std::int64_t threads : {8, 32, 128, 256, 512}) {
    const std::int64_t full = threads * backward_elements<T>;
    const std::int64_t rows_of_block = threads < 128 ? 128 / threads : 1;
    shapes.push_back({rows_of_block + 1, full, 1});
    shapes.push_back({rows_of_block + 2, full - 1, 1});
    shapes.push_back({1, full / 2 + 1, 1});
    shapes.push_back({2, full - 3 * vector, 1});
  }
  run_shapes<T, P>(context, shapes);
}

// Slots of several rows, the last one shorter: above 132 rows for each of a block's.
template <class T, class P>
void slots(const Context& context) {
  const std::int64_t each = backward_elements<T>;
  const std::vector<Shape> shapes{{2600, 5, 1},
                                  {2600, 2 * each, 1},
                                  {1500, 30 * each, 1},
                                  {400, 40 * each + 1, 1},
                                  {300, 140 * each, 1}};
  Memory memory;
  const std::vector<Variant> variants = few_variants(sizeof(T), 2, true);
  for (const Shape& shape : shapes) {
    Backward<T, P> problem(shape, Data::ordinary, true, false);
    for (const Variant& v : variants) run(context, memory, problem, v);
  }
}

template <class T, class P>
std::vector<Shape> long_rows() {
  const std::int64_t part = 512 * backward_elements<T>;
  return {{2, part + 1, 1},
          {3, part + vector_of<T>, 1},
          {1, 3 * part - 1, 1},
          {2, 5 * part / 2, 1},
          {1, 7 * part + 8, 1}};
}

template <class T, class P>
void clusters(const Context& context) {
  const std::int64_t part = 512 * backward_elements<T>;
  run_shapes<T, P>(context, long_rows<T, P>());
  Memory memory;
  Backward<T, P> several_rows_a_slot({300, part + 8, 1}, Data::ordinary, true, false);
  run(context, memory, several_rows_a_slot, few_variants(sizeof(T), 2, true).front());
}

// More threads than ThreadSanitizer has memory for, hence by themselves.
template <class T, class P>
void largest_clusters(const Context& context) {
  const std::int64_t part = 512 * backward_elements<T>;
  run_shapes<T, P>(context, {{1, 16 * part, 1}, {1, 15 * part + 8, 1}});
}

template <class T, class P>
void runs(const Context& context) {
  const std::int64_t part = 512 * backward_elements<T>;
  run_shapes<T, P>(context, {{1, 16 * part + vector_of<T>, 1}, {2, 17 * part, 1}});
  const WithoutClusters other_card(SharedMemory::little);
  std::vector<Shape> shapes = long_rows<T, P>();
  shapes.push_back({270, part + 4, 1});  // two slots of rows
  run_shapes<T, P>(context, shapes);
}

template <class T, class P>
void columns(const Context& context) {
  std::vector<Shape> shapes{{5, 1, 3}, {1, 2, 2}, {2, 3, 9000}, {3, 2, 8200}};
  for (const std::int64_t reduced : {3, 127, 257}) {
    shapes.push_back({2, reduced, 3});
    shapes.push_back({1, reduced, 33});
    shapes.push_back({2, reduced, 4});
  }
  shapes.insert(shapes.end(), {{3, 20, 128}, {2, 20, 132}, {3000, 2, 3}, {1, 300, 131}});
  run_shapes<T, P>(context, shapes);
}

template <class T, class P>
void edges(const Context& context) {
  run_shapes<T, P>(context, {{0, 5, 1}, {3, 0, 1}, {2, 0, 3}, {2, 5, 0}, {0, 0, 1}, {0, 9000, 1}});
}

template <class T, class P>
void shifts(const Context& context) {
  Memory memory;
  for (const Shape& shape : shifted_rows(vector_of<T>)) {
    Backward<T, P> problem(shape, Data::ordinary, true, false);
    for (const Variant& v : shifted_variants(sizeof(T), 2)) run(context, memory, problem, v);
  }
}

template <class T, class P>
void many(const Context& context) {
  Memory memory;
  const std::vector<Variant> variants = few_variants(sizeof(T), 2, true);
  for (const Shape& shape : {Shape{65535, 3, 1}, Shape{65537, 4, 1}}) {
    Backward<T, P> problem(shape, Data::ordinary, true, false);
    run(context, memory, problem, variants[static_cast<std::size_t>(shape.outer % 4 / 3)]);
  }
  // More rows of a column than its slots have by themselves. Parameters would take a block for
  // each.
  Backward<T, P> long_columns({1, 66001, 2}, Data::ordinary, true, false);
  Variant no_parameters = variants.front();
  no_parameters.outputs = 0;
  run(context, memory, long_columns, no_parameters);
}

template <class T, class P>
void far(const Context& context) {
  Memory memory;
  const Variants variants(sizeof(T), 2);
  for (const Shape& shape : {Shape{6, 37, 1}, Shape{6, 4500, 1}, Shape{6, 7, 5}}) {
    Backward<T, P> problem(shape, Data::ordinary, true, false);
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
  const std::string name = "layer_norm_backward/";
  groups->push_back({name + "rows/" + dtype, rows<T, P>});
  groups->push_back({name + "slots/" + dtype, slots<T, P>});
  groups->push_back({name + "clusters/" + dtype, clusters<T, P>});
  groups->push_back({name + "largest-clusters/" + dtype, largest_clusters<T, P>});
  groups->push_back({name + "runs/" + dtype, runs<T, P>});
  groups->push_back({name + "columns/" + dtype, columns<T, P>});
  groups->push_back({name + "edges/" + dtype, edges<T, P>});
  groups->push_back({name + "shifts/" + dtype, shifts<T, P>});
}

}  // namespace

std::vector<Group> layer_norm_backward_groups() {
  std::vector<Group> groups;
  add_groups<float, float>("float32", &groups);
  add_groups<double, double>("float64", &groups);
  add_groups<Float16, Float16>("float16", &groups);
  add_groups<BFloat16, BFloat16>("bfloat16", &groups);
  add_groups<Float16, float>("float16-float32", &groups);
  add_groups<BFloat16, float>("bfloat16-float32", &groups);
  groups.push_back({"layer_norm_backward/many/float32", many<float, float>});
  groups.push_back({"layer_norm_backward/far/float32", far<float, float>});
  groups.push_back({"layer_norm_backward/far/float16", far<Float16, Float16>});
  groups.push_back({"layer_norm_backward/far-runs/float32", runs_far<float, float>});
  return groups;
}

}  // namespace normdrop::driver
