// The copies of the device: bytes as they lie, and elements of strided arrays, converted.
#include <numeric>

#include "copy_calls.h"
#include "cuda/groups.h"

namespace normdrop::driver {
namespace {

void run_bytes(const Context& context) {
  Memory memory;
  std::vector<std::int64_t> sizes(70);
  std::iota(sizes.begin(), sizes.end(), 0);
  for (const std::int64_t n : {4096, 16384, 32768}) {  // vectors of a thread, a block, two
    sizes.insert(sizes.end(), {n - 16, n - 1, n, n + 1, n + 16});
  }
  for (const std::int64_t bytes : sizes) {
    copy::Problem problem(bytes, false);
    for (const Variant& v : few_variants(1, 0, false)) run(context, memory, problem, v);
  }
}

struct Strides {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> source;
  std::vector<std::int64_t> target;

  std::string text() const {
    std::string text;
    for (const auto* list : {&shape, &source, &target}) {
      text += text.empty() ? "(" : " by (";
      for (const std::int64_t n : *list) text += std::to_string(n) + ",";
      text += ")";
    }
    return text;
  }
  std::int64_t count() const {
    std::int64_t count = 1;
    for (const std::int64_t n : shape) count *= n;
    return count;
  }
  // Calls body(from, to) for every element, the last index first.
  template <class Body>
  void for_each(Body&& body) const {
    for (std::int64_t i = 0; i < count(); ++i) {
      std::int64_t rest = i;
      std::int64_t from = 0;
      std::int64_t to = 0;
      for (std::size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
        from += rest % shape[d] * source[d];
        to += rest % shape[d] * target[d];
      }
      body(from, to);
    }
  }
};

// Smallest and largest offset of an element.
std::pair<std::int64_t, std::int64_t> reach(const Strides& strides,
                                            const std::vector<std::int64_t>& of) {
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (std::size_t d = 0; d < of.size(); ++d) {
    const std::int64_t last = (strides.shape[d] - 1) * of[d];
    (last < 0 ? low : high) += last;
  }
  return {low, high};
}

StridedCopy arguments_of(const Strides& strides, DType source, DType target) {
  StridedCopy a{};
  a.source_dtype = source;
  a.target_dtype = target;
  a.rank = static_cast<int>(strides.shape.size());
  for (int d = 0; d < a.rank; ++d) {
    const auto i = static_cast<std::size_t>(d);
    a.shape[d] = strides.shape[i];
    a.source_strides[d] = strides.source[i];
    a.target_strides[d] = strides.target[i];
  }
  return a;
}

// Elements of the target that no index reaches must stay as they were.
template <class S, class T>
void run_strided(const Context& context, Memory& memory, const Strides& strides,
                 const Variant& variant) {
  Case one("strided_copy %s; %s", strides.text().c_str(), variant.text().c_str());
  const auto [source_low, source_high] = reach(strides, strides.source);
  const auto [target_low, target_high] = reach(strides, strides.target);
  const Placement placement(memory, variant);
  const std::vector<S> values = noise_values<S>(7, source_high - source_low + 1, 3.0);
  Array<S> source = placement.run(1, values);
  Array<T> target = placement.run<T>(0, target_high - target_low + 1);
  std::vector<T> expected(target.data(), target.data() + target.length());
  strides.for_each([&](std::int64_t from, std::int64_t to) {
    expected[static_cast<std::size_t>(to - target_low)] =
        static_cast<T>(static_cast<double>(values[static_cast<std::size_t>(from - source_low)]));
  });
  Stream stream(context, 1);
  StridedCopy arguments = arguments_of(strides, dtype_of<S>, dtype_of<T>);
  arguments.source = source.data() - source_low;
  arguments.target = target.data() - target_low;
  arguments.stream = stream.handle();
  context.device->strided_copy(arguments);
  stream.finish();
  source.check_unchanged(one, "source", values);
  target.check_surroundings(one, "target");
  if (!target.holds(expected)) one.fail("target: not the elements of the source");
}

template <class S, class T>
void run_strides(const Context& context) {
  const Strides all[] = {
      {{}, {}, {}},
      {{1}, {1}, {1}},
      {{257}, {1}, {1}},
      {{300}, {-1}, {2}},
      {{5, 7}, {7, 1}, {1, 5}},
      {{16, 33}, {40, 1}, {33, 1}},
      {{3, 4, 5}, {0, 5, 1}, {20, 5, 1}},
      {{2, 3, 4, 5}, {1, 2, -6, 24}, {-60, 20, 5, 1}},
      {{2, 1, 2, 1, 2, 1, 2, 1, 2}, {16, 9, 8, 9, 4, 9, 2, 9, 1}, {1, 9, 2, 9, 4, 9, 8, 9, 16}},
  };
  Memory memory;
  for (const Strides& strides : all) {
    for (const Variant& v : few_variants(sizeof(S) > sizeof(T) ? sizeof(S) : sizeof(T), 0, false)) {
      if (!v.in_place) run_strided<S, T>(context, memory, strides, v);
    }
  }
}

// Rows 2^33 bytes apart, and an empty array.
void run_far(const Context& context) {
  Memory memory;
  const std::vector<float> values = noise_values<float>(7, 6 * 5);
  Case one("strided_copy (6, 5) by 2^31 elements");
  const Variant variant = Variants(4, 0).far(5).front();
  const Placement placement(memory, variant);
  const Shape shape{6, 5, 1};
  Array<float> source = placement.rows(1, shape, values);
  Array<float> target = placement.rows<float>(0, shape);
  Stream stream(context, 1);
  StridedCopy a = arguments_of({{6, 5}, {source.stride(), 1}, {target.stride(), 1}}, DType::float32,
                               DType::float32);
  a.source = source.data();
  a.target = target.data();
  a.stream = stream.handle();
  context.device->strided_copy(a);
  stream.finish();
  source.check_unchanged(one, "source", values);
  target.check_surroundings(one, "target");
  if (!target.holds(values)) one.fail("target: not the elements of the source");
}

void run_empty(const Context& context) {
  Case one("strided_copy of no elements");
  StridedCopy a = arguments_of({{3, 0}, {1, 1}, {1, 1}}, DType::float32, DType::float64);
  context.device->strided_copy(a);
}

}  // namespace

std::vector<Group> copy_groups() {
  return {
      {"copy/sizes/bytes", run_bytes},
      {"strided_copy/strides/float32", run_strides<float, float>},
      {"strided_copy/strides/float64", run_strides<double, double>},
      {"strided_copy/strides/float16", run_strides<Float16, Float16>},
      {"strided_copy/strides/bfloat16", run_strides<BFloat16, BFloat16>},
      {"strided_copy/widening/float32", run_strides<float, double>},
      {"strided_copy/narrowing/float64", run_strides<double, float>},
      {"strided_copy/far/float32", run_far},
      {"strided_copy/empty/float32", run_empty},
  };
}

}  // namespace normdrop::driver
