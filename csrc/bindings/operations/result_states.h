// The roles of what comes back: see role_state.h.
#pragma once

#include "bindings/operations/role_state.h"

namespace normdrop {

struct OutputState : NoState {
  static constexpr int handles = 0;
  Late<Output> output;

  bool has_room() const { return output.made() && output->view.size() > 0; }
  py::object hand_over(Execution& execution) const {
    return output.made() ? delivered(execution, *output) : py::none();
  }
};

struct OutputLikeLeader : OutputState {
  // `out` where the caller gave one.
  template <class C>
  void place_at(C& call, const auto& role, Execution& execution, const ArrayView& out) {
    output.make([&] { return output_like(execution, call.x(), out, call.geometry.split()); });
    call.arguments.*role.data = output->operand.data;
    call.arguments.*role.stride = output->operand.outer_stride;
  }
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
  Late<ArrayView> out;

  template <class C>
  void read(C& call, const roles::Result<A>& role, const py::handle* object) {
    out.make([&] { return optional_out(call.name(role.name), *object, call.x()); });
  }
  // `out` against an input; once all inputs are known.
  template <class C>
  void keep_apart(const C& call, const roles::Result<A>& role, const auto& each_input) const {
    if (!*out) return;
    each_input([&](const char* name, const ArrayView& view) {
      const bool may_be = role.may_be != nullptr && std::strcmp(name, role.may_be) == 0;
      require_no_overlap(call.name(role.name), *out, name, view, may_be);
    });
  }
  template <class C>
  void place(C& call, const roles::Result<A>& role, Execution& execution) {
    place_at(call, role, execution, *out);
  }
};

template <class A>
struct State<roles::NewResult<A>> : OutputLikeLeader {
  template <class C>
  void place(C& call, const roles::NewResult<A>& role, Execution& execution) {
    place_at(call, role, execution, {});
  }
};

template <class A>
struct State<roles::NewStatistic<A>> : OutputState {
  template <class C>
  void place(C& call, const roles::NewStatistic<A>& role, Execution& execution) {
    if constexpr (C::first_result_only) return;
    const ShapeOfValues values = call.geometry.statistic(call.x());
    output.make([&] {
      return new_dense(execution, DType::float64, values.shape, call.geometry.statistic_order());
    });
    call.arguments.*role.data = output->operand.template as<double>();
  }
  void add_rows(const A& arguments, const roles::NewStatistic<A>& role, const RowShape& row,
                std::vector<StagedRows>& arrays) const {
    if (output.made()) arrays.push_back(row.written_statistics(arguments.*role.data));
  }
  void take_part(A& part, const roles::NewStatistic<A>& role, const RowShape&,
                 RowPart& device) const {
    if (output.made()) part.*role.data = reinterpret_cast<double*>(device.next());
  }
};

template <class A>
struct State<roles::Gradient<A>> : OutputState {
  bool asked_for = false;

  template <class C>
  void place(C& call, const roles::Gradient<A>& role, Execution& execution) {
    if (!asked_for) return;
    const ShapeOfValues values = call.geometry.parameter();
    output.make([&] {
      return new_dense(execution, call.parameter_dtype, values.shape,
                       call.geometry.parameter_order());
    });
    call.arguments.*role.data = output->operand.data;
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
