// Axes as Python names them, checked, and x seen along them.
#include "bindings/operations/geometry.h"

namespace normdrop {
namespace {

std::string text_of(py::handle object) { return py::repr(object).cast<std::string>(); }

void require_least_axes(Name leader, const ArrayView& x, int least_axes) {
  if (x.rank >= least_axes) return;
  fail_value(leader, "must have at least " + std::to_string(least_axes) +
                         (least_axes == 1 ? " axis" : " axes") + ", got shape " +
                         shape_text(x.shape, x.rank));
}

AxisSet one_axis(int axis) {
  AxisSet set;
  set.has[axis] = true;
  set.count = 1;
  return set;
}

}  // namespace

AxisSet require_axes(Name name, py::handle object, int rank) {
  AxisSet axes;
  const auto include = [&](py::handle item) {
    const int axis = require_axis(name, item, rank);
    if (axes.has[axis]) fail_value(name, "must name each axis once, got " + text_of(object));
    axes.has[axis] = true;
    ++axes.count;
  };
  if (PyTuple_Check(object.ptr())) {
    for (const py::handle item : py::reinterpret_borrow<py::tuple>(object)) include(item);
  } else {
    include(object);
  }
  return axes;
}

void AxesGeometry::read_axes(Name name, Name leader, py::handle object, const ArrayView& x) {
  if (x.rank == 0) fail_value(leader, "must have at least one axis, got shape ()");
  if (!PyTuple_Check(object.ptr()) && !PyIndex_Check(object.ptr())) {
    fail_type(name, "must be an integer or a tuple of integers, got " + type_text(object));
  }
  axes_ = require_axes(name, object, x.rank);
  if (axes_.count == 0) fail_value(name, "must name at least one axis, got ()");
  int place = 0;
  int last = -1;
  for (int d = 0; d < x.rank; ++d) {
    if (!axes_.has[d]) continue;
    if (place > 0 && last != d - 1) {
      fail_value(name, "must name neighbouring axes, got " + text_of(object));
    }
    parameter_shape_[place++] = x.shape[d];
    last = d;
  }
}

void AxesGeometry::settle(const ArrayView& x, bool c_order_only) {
  if (!c_order_only && normdrop::split(x, axes_, memory_order(x), &split_)) return;
  normdrop::split(x, axes_, c_order(x.rank), &split_);
}

ShapeOfValues AxesGeometry::statistic(const ArrayView& x) {
  int place = 0;
  for (int d = 0; d < x.rank; ++d) {
    if (!axes_.has[d]) statistic_shape_[place++] = x.shape[d];
  }
  return {statistic_shape_, place};
}

void ChannelGeometry::read_axis(Name name, Name leader, py::handle object, const ArrayView& x,
                                int least_axes) {
  if (one_for_all_ && x.rank < least_axes) return;
  require_least_axes(leader, x, least_axes);
  axis_ = require_axis(name, object, x.rank);
}

void ChannelGeometry::settle(const ArrayView& x) {
  if (one_for_all_) {
    split_ = {memory_order(x), 1, 1, x.size()};
    return;
  }
  channels_ = x.shape[axis_];
  normdrop::split(x, one_axis(axis_), memory_order(x), &split_);  // a single axis always splits
}

void GroupGeometry::read_axis(Name name, Name leader, py::handle object, const ArrayView& x) {
  require_least_axes(leader, x, 2);
  axis_ = require_axis(name, object, x.rank);
  if (axis_ == 0) fail_value(name, "must not be 0, which is the axis of the batch");
  channels_ = x.shape[axis_];
}

bool GroupGeometry::see_in(const ArrayView& x, const MemoryOrder& order) {
  before_ = after_ = 1;
  bool found_channels = false;
  for (int i = 0; i < x.rank; ++i) {
    const int d = order.axis[i];
    if (d == 0) {
      if (x.shape[0] != 1 && (found_channels || before_ != 1)) return false;
    } else if (d == axis_) {
      found_channels = true;
    } else {
      (found_channels ? after_ : before_) *= x.shape[d];
    }
  }
  split_ = {order, x.shape[0], before_ * channels_ * after_, 1};
  return true;
}

void GroupGeometry::settle(const ArrayView& x) {
  std::int64_t groups = channels_;
  if (groups_object_.object) {
    groups = require_integer(groups_object_.name, groups_object_.object);
    if (groups < 1 || channels_ % groups != 0) {
      fail_value(groups_object_.name, "must divide the number of channels, " +
                                          std::to_string(channels_) + ", got " +
                                          std::to_string(groups));
    }
  }
  statistic_shape_[0] = x.shape[0];
  statistic_shape_[1] = groups;
  if (!see_in(x, memory_order(x))) see_in(x, c_order(x.rank));
}

}  // namespace normdrop
