// What a call does for each role: `read` checks the argument, `place` puts it where the kernel
// reaches it and fills the kernel's arguments, `hand_over` collects what comes back. All checks of a
// call come before the first `place`.
#pragma once

#include <cstring>
#include <string>

#include "bindings/operations/call.h"
#include "bindings/operations/dropout_scales.h"
#include "bindings/operations/row_staging.h"

namespace normdrop {

// Steps that a role has nothing to do in.
struct NoState {
  static constexpr int handles = 1;
  template <class C>
  void lead(C&, const auto&, const py::handle*) {}
  template <class C>
  void see(C&, const auto&, const py::handle*) {}
  template <class C>
  void read(C&, const auto&, const py::handle*) {}
  template <class C>
  void place(C&, const auto&, Execution&) {}
  template <class Body>
  void for_each_input(const auto&, Body&&) const {}
  template <class C>
  void keep_apart(const C&, const auto&, const auto&) const {}
  template <class A>
  void add_rows(const A&, const auto&, const RowShape&, std::vector<StagedRows>&) const {}
  template <class A>
  void take_part(A&, const auto&, const RowShape&, RowPart&) const {}
  bool answers_to(const auto&, const char*) const { return false; }
  bool has_room() const { return false; }
};

struct ArrayState : NoState {
  ArrayView view;
  Operand operand;

  template <class Body>
  void for_each_input(const auto& role, Body&& body) const {
    body(role.name, view);
  }
};

// An array of x's shape, which has rows.
struct LikeLeader : ArrayState {
  template <class B>
  void add_rows(const B& arguments, const auto& role, const RowShape& row,
                std::vector<StagedRows>& arrays) const {
    if (!view) return;
    arrays.push_back(row.read(arguments.*role.data, arguments.*role.stride));
  }
  template <class B>
  void take_part(B& part, const auto& role, const RowShape& row, RowPart& device) const {
    if (!view) return;
    part.*role.data = device.next();
    part.*role.stride = row.elements;
  }
};

template <class Role>
struct State;

template <class A>
struct State<roles::Leader<A>> : LikeLeader {
  template <class C>
  void lead(C& call, const roles::Leader<A>& role, const py::handle* object) {
    call.leader = call.name(role.name);
    call.x = view = require_array(call.leader, *object);
  }
  template <class C>
  void place(C& call, const roles::Leader<A>& role, Execution& execution) {
    operand = readable(execution, view, call.geometry.split());
    call.arguments.*role.data = operand.data;
    call.arguments.*role.stride = operand.outer_stride;
  }
};

template <class A>
struct State<roles::Like<A>> : LikeLeader {
  template <class C>
  void read(C& call, const roles::Like<A>& role, const py::handle* object) {
    if (role.optional && object->is_none()) return;
    view = require_like(call.name(role.name), *object, call.x);
  }
  template <class C>
  void place(C& call, const roles::Like<A>& role, Execution& execution) {
    if (!view) return;
    operand = readable(execution, view, call.geometry.split());
    call.arguments.*role.data = operand.data;
    call.arguments.*role.stride = operand.outer_stride;
  }
};

template <class A>
struct State<roles::Parameter<A>> : ArrayState {
  bool answers_to(const roles::Parameter<A>& role, const char* name) const {
    return view && std::strcmp(role.name, name) == 0;
  }
  // A parameter of one element may change how x is seen.
  template <class C>
  void lead(C& call, const roles::Parameter<A>& role, const py::handle* object) {
    if constexpr (requires { call.geometry.take_one_channel(); }) {
      if (role.presence == roles::Presence::required_or_one_for_all && has_shape_of_one(*object)) {
        call.geometry.take_one_channel();
      }
    }
  }
  template <class C>
  void read(C& call, const roles::Parameter<A>& role, const py::handle* object) {
    const Values values = call.geometry.parameter();
    const Name name = call.name(role.name);
    const bool optional = role.presence == roles::Presence::optional;
    view = optional ? optional_parameter(name, *object, call.x, values.shape, values.rank)
                    : require_parameter(name, *object, call.x, values.shape, values.rank);
    if (!view) return;
    if (call.first_parameter != nullptr) {
      require_dtype_of(name, view, call.first_parameter, call.parameter_dtype);
    }
    call.first_parameter = role.name;
    call.parameter_dtype = view.dtype;
  }
  template <class C>
  void place(C& call, const roles::Parameter<A>& role, Execution& execution) {
    operand = dense(execution, view, call.geometry.parameter().order);
    call.arguments.*role.data = operand.data;
  }
};

template <class A>
struct State<roles::Statistic<A>> : ArrayState {
  template <class C>
  void read(C& call, const roles::Statistic<A>& role, const py::handle* object) {
    const Values values = call.geometry.statistic(call.x);
    view = require_statistic(call.name(role.name), *object, call.x, values.shape, values.rank);
  }
  template <class C>
  void place(C& call, const roles::Statistic<A>& role, Execution& execution) {
    operand = dense(execution, view, call.geometry.statistic(call.x).order);
    call.arguments.*role.data = operand.template as<const double>();
  }
};

template <class A>
struct State<roles::Statistics<A>> : NoState {
  std::string names[2];
  ArrayView views[2];
  Operand operands[2];

  template <class C>
  void read(C& call, const roles::Statistics<A>& role, const py::handle* object) {
    require_named_tuple(call.name(role.name), *object, role.type);
    const Values values = call.geometry.statistic(call.x);
    for (int i = 0; i < 2 && role.fields[i].name != nullptr; ++i) {
      names[i] = std::string(role.name) + "." + role.fields[i].name;
      views[i] = require_statistic(call.name(names[i].c_str()), object->attr(role.fields[i].name),
                                   call.x, values.shape, values.rank);
    }
  }
  template <class C>
  void place(C& call, const roles::Statistics<A>& role, Execution& execution) {
    const MemoryOrder order = call.geometry.statistic(call.x).order;
    for (int i = 0; i < 2 && views[i]; ++i) {
      operands[i] = dense(execution, views[i], order);
      call.arguments.*role.fields[i].data = operands[i].template as<const double>();
    }
  }
  template <class Body>
  void for_each_input(const auto&, Body&& body) const {
    for (int i = 0; i < 2; ++i) body(names[i].c_str(), views[i]);
  }
};

template <class A>
struct State<roles::CountOfStatistics<A>> : NoState {
  static constexpr int handles = 0;
  static constexpr bool wants_object_of = true;  // that of its Statistics role
  template <class C>
  void read(C& call, const roles::CountOfStatistics<A>& role, const py::handle* object) {
    const std::string name = std::string(role.of) + "." + role.name;
    const std::int64_t count = require_integer(call.name(name.c_str()), object->attr(role.name));
    if (count < 0) {
      fail_value(call.name(name.c_str()), "must be 0 or greater, got " + std::to_string(count));
    }
    call.arguments.*role.value = static_cast<double>(count);
  }
};

template <class A>
struct State<roles::Running<A>> : ArrayState {
  template <class C>
  void read(C& call, const roles::Running<A>& role, const py::handle* object) {
    const Values values = call.geometry.parameter();
    const Name name = call.name(role.name);
    view = require_single_or_double(name, *object, call.x);
    require_shape(name, view, values.shape, values.rank);
  }
  template <class C>
  void place(C& call, const roles::Running<A>& role, Execution& execution) {
    operand = dense_as(execution, view, DType::float64, call.geometry.parameter().order);
    call.arguments.*role.data = operand.template as<const double>();
  }
};

template <>
struct State<roles::Axes> : NoState {
  template <class C>
  void see(C& call, const roles::Axes& role, const py::handle* object) {
    call.geometry.read_axes(call.name(role.name), call.leader, *object, call.x);
  }
};

template <>
struct State<roles::ChannelAxis> : NoState {
  template <class C>
  void see(C& call, const roles::ChannelAxis& role, const py::handle* object) {
    if constexpr (requires { call.shape.least_axes; }) {
      call.geometry.read_axis(call.name(role.name), call.leader, *object, call.x,
                              call.shape.least_axes);
    } else {
      call.geometry.read_axis(call.name(role.name), call.leader, *object, call.x);
    }
  }
};

template <>
struct State<roles::NumberOfGroups> : NoState {
  template <class C>
  void see(C& call, const roles::NumberOfGroups& role, const py::handle* object) {
    call.geometry.read_groups(call.name(role.name), *object);
  }
};

template <class A>
struct State<roles::Epsilon<A>> : NoState {
  template <class C>
  void read(C& call, const roles::Epsilon<A>& role, const py::handle* object) {
    call.arguments.*role.value = require_eps(call.name(role.name), *object);
  }
};

template <class A>
struct State<roles::Flag<A>> : NoState {
  template <class C>
  void read(C& call, const roles::Flag<A>& role, const py::handle* object) {
    call.arguments.*role.value = require_flag(call.name(role.name), *object);
  }
};

template <>
struct State<roles::Wanted> : NoState {
  bool wanted = false;
  bool answers_to(const roles::Wanted& role, const char* name) const {
    return wanted && std::strcmp(role.name, name) == 0;
  }
  template <class C>
  void read(C& call, const roles::Wanted& role, const py::handle* object) {
    wanted = require_flag(call.name(role.name), *object);
  }
};

template <class A>
struct State<roles::Draw<A>> : NoState {
  static constexpr int handles = 4;
  ArrayView device_draw;

  template <class C>
  void read(C& call, const roles::Draw<A>& role, const py::handle* object) {
    auto& draw = call.arguments.*role.draw;
    draw.seed = object[0].cast<std::uint64_t>();
    draw.call = object[1].cast<std::uint64_t>();
    draw.threshold = object[2].cast<std::uint64_t>();
    const Scales scales = scales_of(draw.threshold);
    call.arguments.*role.scale = call.x.dtype == DType::float64 ? scales.wide : scales.narrow;
    if (!object[3].is_none()) {
      device_draw = require_draw(call.name("rng"), object[3], call.x);
    }
  }
  template <class C>
  void place(C& call, const roles::Draw<A>& role, Execution& execution) {
    if (!device_draw) return;
    execution.join(device_draw);
    call.arguments.*role.device_draw = reinterpret_cast<const std::uint64_t*>(device_draw.data);
  }
  void take_part(A& part, const roles::Draw<A>& role, const RowShape& row, RowPart& device) const {
    (part.*role.draw).first_index += static_cast<std::uint64_t>(device.first_row * row.elements);
  }
  template <class Body>
  void for_each_input(const auto&, Body&& body) const {
    body("rng", device_draw);
  }
};

// Results ----------------------------------------------------------------------------------------

struct OutputState : NoState {
  static constexpr int handles = 0;
  Output output;

  bool has_room() const { return output.view && output.view.size() > 0; }
  py::object hand_over(Execution& execution) const { return delivered(execution, output); }
};

struct OutputLikeLeader : OutputState {
  template <class B>
  void add_rows(const B& arguments, const auto& role, const RowShape& row,
                std::vector<StagedRows>& arrays) const {
    arrays.push_back(row.written(arguments.*role.data, arguments.*role.stride));
  }
  template <class B>
  void take_part(B& part, const auto& role, const RowShape& row, RowPart& device) const {
    part.*role.data = device.next();
    part.*role.stride = row.elements;
  }
};

template <class A>
struct State<roles::Result<A>> : OutputLikeLeader {
  static constexpr int handles = 1;
  ArrayView out;

  template <class C>
  void read(C& call, const roles::Result<A>& role, const py::handle* object) {
    out = optional_out(call.name(role.name), *object, call.x);
  }
  // `out` against an input; once all inputs are known.
  template <class C>
  void keep_apart(const C& call, const roles::Result<A>& role, const auto& each_input) const {
    if (!out) return;
    each_input([&](const char* name, const ArrayView& view) {
      const bool may_be = role.may_be != nullptr && std::strcmp(name, role.may_be) == 0;
      require_no_overlap(call.name(role.name), out, name, view, may_be);
    });
  }
  template <class C>
  void place(C& call, const roles::Result<A>& role, Execution& execution) {
    output = output_like(execution, call.x, out, call.geometry.split());
    call.arguments.*role.data = output.operand.data;
    call.arguments.*role.stride = output.operand.outer_stride;
  }
};

template <class A>
struct State<roles::NewResult<A>> : OutputLikeLeader {
  template <class C>
  void place(C& call, const roles::NewResult<A>& role, Execution& execution) {
    output = output_like(execution, call.x, {}, call.geometry.split());
    call.arguments.*role.data = output.operand.data;
    call.arguments.*role.stride = output.operand.outer_stride;
  }
};

template <class A>
struct State<roles::NewStatistic<A>> : OutputState {
  template <class C>
  void place(C& call, const roles::NewStatistic<A>& role, Execution& execution) {
    if (call.first_result_only) return;
    const Values values = call.geometry.statistic(call.x);
    output = new_dense(execution, DType::float64, values.shape, values.order);
    call.arguments.*role.data = output.operand.template as<double>();
  }
  void add_rows(const A& arguments, const roles::NewStatistic<A>& role, const RowShape& row,
                std::vector<StagedRows>& arrays) const {
    if (output.view) arrays.push_back(row.written_statistics(arguments.*role.data));
  }
  void take_part(A& part, const roles::NewStatistic<A>& role, const RowShape&,
                 RowPart& device) const {
    if (output.view) part.*role.data = reinterpret_cast<double*>(device.next());
  }
};

template <class A>
struct State<roles::Gradient<A>> : OutputState {
  bool asked_for = false;

  template <class C>
  void place(C& call, const roles::Gradient<A>& role, Execution& execution) {
    if (!asked_for) return;
    const Values values = call.geometry.parameter();
    output = new_dense(execution, call.parameter_dtype, values.shape, values.order);
    call.arguments.*role.data = output.operand.data;
  }
};

template <>
struct State<roles::NewCount> : NoState {
  static constexpr int handles = 0;
  std::int64_t count = 0;

  template <class C>
  void place(C& call, const roles::NewCount&, Execution&) {
    count = call.geometry.split().outer * call.geometry.split().inner;
  }
  py::object hand_over(Execution&) const { return py::int_(count); }
};

}  // namespace normdrop
