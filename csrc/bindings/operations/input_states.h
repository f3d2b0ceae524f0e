// The roles of what Python passes: see role_state.h.
#pragma once

#include <string>

#include "bindings/operations/role_state.h"

namespace normdrop {

template <class A>
struct State<roles::Leader<A>> : LikeLeader {
  template <class C>
  void lead(C& call, const roles::Leader<A>& role, const py::handle* object) {
    call.leader = call.name(role.name);
    call.leading = &view.make([&] { return require_array(call.leader, *object); });
  }
};

template <class A>
struct State<roles::Like<A>> : LikeLeader {
  template <class C>
  void read(C& call, const roles::Like<A>& role, const py::handle* object) {
    if (role.optional && object->is_none()) return;
    view.make([&] { return require_like(call.name(role.name), *object, call.x()); });
  }
};

template <class A>
struct State<roles::Parameter<A>> : ArrayState {
  bool answers_to(const roles::Parameter<A>& role, const char* name) const {
    return given() && std::strcmp(role.name, name) == 0;
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
    const ShapeOfValues values = call.geometry.parameter();
    const Name name = call.name(role.name);
    if (role.presence == roles::Presence::optional && object->is_none()) return;
    view.make([&] {
      return require_parameter(name, *object, call.leader, call.x(), values.shape, values.rank);
    });
    if (call.first_parameter != nullptr) {
      require_dtype_of(name, *view, call.first_parameter, call.parameter_dtype);
    }
    call.first_parameter = role.name;
    call.parameter_dtype = view->dtype;
  }
  template <class C>
  void place(C& call, const roles::Parameter<A>& role, Execution& execution) {
    if (!given()) return;
    operand.make([&] { return dense(execution, *view, call.geometry.parameter_order()); });
    call.arguments.*role.data = operand->data;
  }
};

template <class A>
struct State<roles::Statistic<A>> : ArrayState {
  template <class C>
  void read(C& call, const roles::Statistic<A>& role, const py::handle* object) {
    const ShapeOfValues values = call.geometry.statistic(call.x());
    view.make([&] {
      return require_statistic(call.name(role.name), *object, call.x(), values.shape, values.rank);
    });
  }
  template <class C>
  void place(C& call, const roles::Statistic<A>& role, Execution& execution) {
    operand.make([&] { return dense(execution, *view, call.geometry.statistic_order()); });
    call.arguments.*role.data = operand->template as<const double>();
  }
};

template <class A>
struct State<roles::Statistics<A>> : NoState {
  std::string names[2];
  Late<ArrayView> views[2];
  Late<Operand> operands[2];

  template <class C>
  void read(C& call, const roles::Statistics<A>& role, const py::handle* object) {
    require_named_tuple(call.name(role.name), *object, role.type);
    const ShapeOfValues values = call.geometry.statistic(call.x());
    for (int i = 0; i < 2 && role.fields[i].name != nullptr; ++i) {
      names[i] = std::string(role.name) + "." + role.fields[i].name;
      views[i].make([&] {
        return require_statistic(call.name(names[i].c_str()), object->attr(role.fields[i].name),
                                 call.x(), values.shape, values.rank);
      });
    }
  }
  template <class C>
  void place(C& call, const roles::Statistics<A>& role, Execution& execution) {
    const MemoryOrder order = call.geometry.statistic_order();
    for (int i = 0; i < 2 && views[i].made(); ++i) {
      operands[i].make([&] { return dense(execution, *views[i], order); });
      call.arguments.*role.fields[i].data = operands[i]->template as<const double>();
    }
  }
  template <class Body>
  void for_each_input(const auto&, Body&& body) const {
    for (int i = 0; i < 2 && views[i].made(); ++i) body(names[i].c_str(), *views[i]);
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
    const ShapeOfValues values = call.geometry.parameter();
    const Name name = call.name(role.name);
    view.make([&] { return require_single_or_double(name, *object, call.x()); });
    require_shape(name, *view, values.shape, values.rank);
  }
  template <class C>
  void place(C& call, const roles::Running<A>& role, Execution& execution) {
    operand.make([&] {
      return dense_as(execution, *view, DType::float64, call.geometry.parameter_order());
    });
    call.arguments.*role.data = operand->template as<const double>();
  }
};

template <>
struct State<roles::Axes> : NoState {
  template <class C>
  void see(C& call, const roles::Axes& role, const py::handle* object) {
    call.geometry.read_axes(call.name(role.name), call.leader, *object, call.x());
  }
};

template <>
struct State<roles::ChannelAxis> : NoState {
  template <class C>
  void see(C& call, const roles::ChannelAxis& role, const py::handle* object) {
    if constexpr (requires { call.shape.least_axes; }) {
      call.geometry.read_axis(call.name(role.name), call.leader, *object, call.x(),
                              call.shape.least_axes);
    } else {
      call.geometry.read_axis(call.name(role.name), call.leader, *object, call.x());
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
  Late<ArrayView> device_draw;

  template <class C>
  void read(C& call, const roles::Draw<A>& role, const py::handle* object) {
    auto& draw = call.arguments.*role.draw;
    draw.seed = object[0].cast<std::uint64_t>();
    draw.call = object[1].cast<std::uint64_t>();
    draw.threshold = object[2].cast<std::uint64_t>();
    call.arguments.*role.scale = dropout_scale(draw.threshold, call.x().dtype);
    if (!object[3].is_none()) {
      device_draw.make([&] { return require_draw(call.name("rng"), object[3], call.x()); });
    }
  }
  template <class C>
  void place(C& call, const roles::Draw<A>& role, Execution& execution) {
    if (!device_draw.made()) return;
    execution.join(*device_draw);
    call.arguments.*role.device_draw = reinterpret_cast<const std::uint64_t*>(device_draw->data);
  }
  void take_part(A& part, const roles::Draw<A>& role, const RowShape& row, RowPart& device) const {
    (part.*role.draw).first_index += static_cast<std::uint64_t>(device.first_row * row.elements);
  }
  template <class Body>
  void for_each_input(const auto&, Body&& body) const {
    if (device_draw.made()) body("rng", *device_draw);
  }
};

}  // namespace normdrop
