// One call of an operation on its way: what the roles of ops/roles.h need of each other.
#pragma once

#include <vector>

#include "bindings/operations/geometry.h"
#include "bindings/operations/operands.h"
#include "ops/roles.h"

namespace normdrop {

// The geometry that belongs to a shape of ops/roles.h.
template <class Shape>
struct GeometryOf;
template <class A>
struct GeometryOf<roles::OverAxes<A>> {
  using type = AxesGeometry;
};
template <class A>
struct GeometryOf<roles::PerChannel<A>> {
  using type = ChannelGeometry;
};
template <class A>
struct GeometryOf<roles::ChannelGroups<A>> {
  using type = GroupGeometry;
};

template <class Arguments, class Shape, bool short_entry>
struct Call {
  using A = Arguments;
  static constexpr bool first_result_only = short_entry;

  Call(const char* function_name, const Shape& shape_of_x)
      : function(function_name), shape(shape_of_x) {}

  const char* function;
  const Shape& shape;
  A arguments{};
  const ArrayView* leading = nullptr;
  Name leader{};
  typename GeometryOf<Shape>::type geometry;
  const char* first_parameter = nullptr;  // whose dtype is that of all
  DType parameter_dtype = DType::float32;

  const ArrayView& x() const { return *leading; }
  Name name(const char* argument) const { return {function, argument}; }
};

// The sizes that a kernel takes.
template <class A, bool short_entry>
void settle(Call<A, roles::OverAxes<A>, short_entry>& call) {
  call.geometry.settle(call.x(), call.shape.c_order_only);
  const Split& split = call.geometry.split();
  call.arguments.*call.shape.outer = split.outer;
  call.arguments.*call.shape.reduced = split.middle;
  call.arguments.*call.shape.inner = split.inner;
}

template <class A, bool short_entry>
void settle(Call<A, roles::PerChannel<A>, short_entry>& call) {
  call.geometry.settle(call.x());
  const Split& split = call.geometry.split();
  call.arguments.*call.shape.outer = split.outer;
  call.arguments.*call.shape.channels = split.middle;
  call.arguments.*call.shape.inner = split.inner;
  if (split.outer * split.inner >= call.shape.least_values) return;
  fail_value(call.leader, "must have at least " + std::to_string(call.shape.least_values) +
                              " values per channel in training, got " +
                              std::to_string(split.outer * split.inner) + " with shape " +
                              shape_text(call.x().shape, call.x().rank));
}

template <class A, bool short_entry>
void settle(Call<A, roles::ChannelGroups<A>, short_entry>& call) {
  call.geometry.settle(call.x());
  call.arguments.*call.shape.batch = call.geometry.split().outer;
  call.arguments.*call.shape.before = call.geometry.before();
  call.arguments.*call.shape.channels = call.geometry.channels();
  call.arguments.*call.shape.after = call.geometry.after();
  call.arguments.*call.shape.groups = call.geometry.groups();
}

}  // namespace normdrop
