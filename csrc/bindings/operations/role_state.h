// What a call does for each role: `read` checks the argument, `place` puts it where the kernel
// reaches it and fills the kernel's arguments, `hand_over` collects what comes back. All checks of a
// call come before the first `place`.
#pragma once

#include <cstring>
#include <string>

#include "bindings/operations/call.h"
#include "bindings/operations/dropout_scales.h"
#include "bindings/operations/late.h"
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
  Late<ArrayView> view;
  Late<Operand> operand;

  bool given() const { return view.made() && *view; }
  template <class Body>
  void for_each_input(const auto& role, Body&& body) const {
    if (given()) body(role.name, *view);
  }
};

// An array of x's shape, which has rows.
struct LikeLeader : ArrayState {
  template <class C>
  void place(C& call, const auto& role, Execution& execution) {
    if (!given()) return;
    operand.make([&] { return readable(execution, *view, call.geometry.split()); });
    call.arguments.*role.data = operand->data;
    call.arguments.*role.stride = operand->outer_stride;
  }
  template <class B>
  void add_rows(const B& arguments, const auto& role, const RowShape& row,
                std::vector<StagedRows>& arrays) const {
    if (!given()) return;
    arrays.push_back(row.read(arguments.*role.data, arguments.*role.stride));
  }
  template <class B>
  void take_part(B& part, const auto& role, const RowShape& row, RowPart& device) const {
    if (!given()) return;
    part.*role.data = device.next();
    part.*role.stride = row.elements;
  }
};

template <class Role>
struct State;

}  // namespace normdrop
