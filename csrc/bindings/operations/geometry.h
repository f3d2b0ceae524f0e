// How an operation sees x: from the axes that Python names to the sizes that a kernel takes, and the
// shapes of parameters and statistics that follow. One class for each shape of ops/roles.h.
#pragma once

#include "bindings/arrays/layout.h"
#include "bindings/checks/checks.h"

namespace normdrop {

// The shape of a parameter or a statistic.
struct ShapeOfValues {
  const py::ssize_t* shape;
  int rank;
};

// An axis, or a tuple of different ones, of an array of `rank` axes.
AxisSet require_axes(Name name, py::handle object, int rank);

// Over neighbouring axes: (outer, reduced, inner).
class AxesGeometry {
 public:
  AxesGeometry() {
    parameter_order_.rank = 0;
  }  // leaves the shapes as they are: a small call notices a kilobyte of zeros

  // An int, or a tuple of different neighbouring axes in any order.
  void read_axes(Name name, Name leader, py::handle object, const ArrayView& x);

  // In x's own memory order where the axes are neighbours there and no element is numbered; else in
  // C order, where they always are neighbours.
  void settle(const ArrayView& x, bool c_order_only);

  const Split& split() const { return split_; }
  ShapeOfValues parameter() const { return {parameter_shape_, axes_.count}; }
  const MemoryOrder& parameter_order() {
    if (parameter_order_.rank == 0) parameter_order_ = order_of(split_.order, axes_);
    return parameter_order_;
  }
  ShapeOfValues statistic(const ArrayView& x);
  MemoryOrder statistic_order() const { return order_without(split_.order, axes_); }
  std::int64_t statistics_per_row() const { return split_.inner; }

 private:
  AxisSet axes_;
  Split split_;
  MemoryOrder parameter_order_;            // rank 0 until somebody asks
  py::ssize_t parameter_shape_[max_rank];  // as x has these axes
  py::ssize_t statistic_shape_[max_rank];
};

// Per channel: (outer, channels, inner).
class ChannelGeometry {
 public:
  void read_axis(Name name, Name leader, py::handle object, const ArrayView& x, int least_axes);

  // One parameter serves all channels: x is one run of a single channel.
  void take_one_channel() { one_for_all_ = true; }

  void settle(const ArrayView& x);

  std::int64_t channels() const { return channels_; }
  const Split& split() const { return split_; }
  ShapeOfValues parameter() const { return {&channels_, 1}; }
  MemoryOrder parameter_order() const { return c_order(1); }
  ShapeOfValues statistic(const ArrayView&) const { return parameter(); }
  MemoryOrder statistic_order() const { return c_order(1); }

 private:
  bool one_for_all_ = false;
  int axis_ = 0;
  py::ssize_t channels_ = 1;
  Split split_;
};

// Groups of neighbouring channels of each batch index: (batch, before, channels, after).
class GroupGeometry {
 public:
  void read_axis(Name name, Name leader, py::handle object, const ArrayView& x);
  void read_groups(Name name, py::handle object) { groups_object_ = {name, object}; }

  // Where nobody names a number of groups, every channel is one.
  void settle(const ArrayView& x);

  std::int64_t before() const { return before_; }
  std::int64_t channels() const { return channels_; }
  std::int64_t after() const { return after_; }
  std::int64_t groups() const { return statistic_shape_[1]; }
  const Split& split() const { return split_; }  // (batch, all the rest, 1)
  ShapeOfValues parameter() const { return {&channels_, 1}; }
  MemoryOrder parameter_order() const { return c_order(1); }
  ShapeOfValues statistic(const ArrayView&) const { return {statistic_shape_, 2}; }
  MemoryOrder statistic_order() const { return c_order(2); }
  std::int64_t statistics_per_row() const { return groups(); }

 private:
  bool see_in(const ArrayView& x, const MemoryOrder& order);

  struct {
    Name name;
    py::handle object;
  } groups_object_{{nullptr, nullptr}, nullptr};
  int axis_ = 0;
  py::ssize_t channels_ = 0;
  std::int64_t before_ = 1;
  std::int64_t after_ = 1;
  py::ssize_t statistic_shape_[2] = {};
  Split split_;
};

}  // namespace normdrop
