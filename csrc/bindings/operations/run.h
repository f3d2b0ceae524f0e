// Every described operation, from Python's arguments to results: arguments are checked, outputs made,
// the kernel called, results handed over. See ops/roles.h for the roles.
#pragma once

#include <type_traits>
#include <utility>

#include "bindings/operations/input_states.h"
#include "bindings/operations/result_states.h"

namespace normdrop {

template <class A>
inline constexpr auto description_of = description(static_cast<const A*>(nullptr));

// The states of all roles, by their numbers. No tuple: that would fill them with zeros first.
template <std::size_t number, class Role>
struct NumberedState {
  State<Role> state;
};
template <class Numbers, class... Roles>
struct AllStates;
template <std::size_t... I, class... Roles>
struct AllStates<std::index_sequence<I...>, Roles...> : NumberedState<I, Roles>... {
  AllStates() {}
};

template <std::size_t number, class Role>
State<Role>& state_of(NumberedState<number, Role>& numbered) {
  return numbered.state;
}

template <class Tuple>
struct StatesOf;
template <class... Roles>
struct StatesOf<std::tuple<Roles...>> {
  using type = AllStates<std::index_sequence_for<Roles...>, Roles...>;
  static constexpr int handles = (0 + ... + State<Roles>::handles);
  static constexpr int count = sizeof...(Roles);
};

template <class State>
concept HandsOver =
    requires(const State& state, Execution& execution) { state.hand_over(execution); };

template <class A, bool first_result_only>
class Run {
  static constexpr const auto& described = description_of<A>;
  using Shape = std::remove_cvref_t<decltype(described.shape)>;
  using States = StatesOf<std::remove_cvref_t<decltype(described.roles)>>;

  template <std::size_t number>
  using StateAt =
      State<std::tuple_element_t<number, std::remove_cvref_t<decltype(described.roles)>>>;

 public:
  static constexpr int handles = States::handles;
  using Operation = void (*OpTable::*)(const A&);

  explicit Run(const char* function) : call_(function, described.shape) {}

  py::object operator()(Operation operation, const py::handle* objects) {
    check(objects);
    Execution execution(call_.x());
    const RowShape row = row_shape();
    if constexpr (described.rows == roles::Rows::independent) {
      execution.stage_by_rows(call_.geometry.split().outer, bytes_of_row(row));
    }
    place(execution);
    if (has_room()) call(execution, operation, row);
    return results(execution);
  }

 private:
  // body(role, state, first of its handles)
  template <class Body>
  void for_each(Body&& body) {
    int at = 0;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((body(std::get<I>(described.roles), state_of<I>(states_), at),
        at += std::remove_cvref_t<decltype(state_of<I>(states_))>::handles),
       ...);
    }(std::make_index_sequence<States::count>());
  }

  void check(const py::handle* objects) {
    for_each([&](const auto& role, auto& state, int at) { state.lead(call_, role, objects + at); });
    call_.parameter_dtype = call_.x().dtype;
    for_each([&](const auto& role, auto& state, int at) { state.see(call_, role, objects + at); });
    settle(call_);
    for_each([&](const auto& role, auto& state, int at) {
      if constexpr (requires {
                      role.of;
                      state.wants_object_of;
                    }) {
        state.read(call_, role, objects + place_of(role.of));
      } else {
        state.read(call_, role, objects + at);
      }
    });
    const auto each_input = [&](const auto& body) {
      for_each([&](const auto& role, auto& state, int) { state.for_each_input(role, body); });
    };
    for_each(
        [&](const auto& role, auto& state, int) { state.keep_apart(call_, role, each_input); });
  }

  // The handle of the Statistics role of that name.
  int place_of(const char* name) {
    int found = 0;
    for_each([&](const auto& role, auto&, int at) {
      if constexpr (requires { role.fields; }) {
        if (std::strcmp(role.name, name) == 0) found = at;
      }
    });
    return found;
  }

  RowShape row_shape() {
    const Split& split = call_.geometry.split();
    RowShape row{split.middle * split.inner, call_.x().item_bytes, 0};
    if constexpr (requires { call_.geometry.statistics_per_row(); }) {
      row.statistics = call_.geometry.statistics_per_row();
    }
    return row;
  }

  // An upper bound: every array and statistic that the operation may have.
  std::int64_t bytes_of_row(const RowShape& row) {
    std::int64_t bytes = 0;
    for_each([&](const auto& role, auto&, int) { bytes += bytes_in_row(role, row); });
    return bytes;
  }
  static std::int64_t bytes_in_row(const auto& role, const RowShape& row) {
    if constexpr (requires { role.stride; }) return row.elements * row.item_bytes;
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(role)>, roles::NewStatistic<A>>) {
      return row.statistics * static_cast<std::int64_t>(sizeof(double));
    }
    return 0;
  }

  void place(Execution& execution) {
    A& arguments = call_.arguments;
    arguments.dtype = call_.x().dtype;
    if constexpr (requires { arguments.parameter_dtype; }) {
      arguments.parameter_dtype = call_.parameter_dtype;
    }
    for_each([&](const auto& role, auto& state, int) {
      if constexpr (requires { state.asked_for; }) state.asked_for = is_asked_for(role.of);
      state.place(call_, role, execution);
    });
  }

  bool is_asked_for(const char* parameter) {
    bool asked = false;
    for_each([&](const auto& role, auto& state, int) {
      asked = asked || state.answers_to(role, parameter);
    });
    return asked;
  }

  // Whether there is anything to be computed.
  bool has_room() {
    bool room = false;
    for_each([&](const auto&, auto& state, int) { room = room || state.has_room(); });
    return room;
  }

  void call(Execution& execution, Operation operation, const RowShape& row) {
    if (execution.by_rows()) return call_by_rows(execution, operation, row);
    execution.call(operation, call_.arguments, call_.x().size());
  }

  void call_by_rows(Execution& execution, Operation operation, const RowShape& row) {
    std::vector<StagedRows> arrays;
    for_each([&](const auto& role, auto& state, int) {
      state.add_rows(call_.arguments, role, row, arrays);
    });
    const auto launch = [&](std::int64_t first, std::int64_t rows, char* const* device,
                            void* stream) {
      A part = call_.arguments;
      part.*outer_size(described.shape) = rows;
      RowPart pointers{device, first};
      for_each(
          [&](const auto& role, auto& state, int) { state.take_part(part, role, row, pointers); });
      part.stream = stream;
      execution.launch(operation, part);
    };
    execution.ring()->run_rows(call_.geometry.split().outer, arrays, launch);
  }

  static constexpr auto outer_size(const roles::OverAxes<A>& shape) { return shape.outer; }
  static constexpr auto outer_size(const roles::PerChannel<A>& shape) { return shape.outer; }
  static constexpr auto outer_size(const roles::ChannelGroups<A>& shape) { return shape.batch; }

  static constexpr int result_count() {
    int count = 0;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((count += HandsOver<StateAt<I>> ? 1 : 0), ...);
    }(std::make_index_sequence<States::count>());
    return first_result_only ? 1 : count;
  }

  // One object, or a tuple of them.
  py::object results(Execution& execution) {
    constexpr int count = result_count();
    PyObject* tuple = count > 1 ? PyTuple_New(count) : nullptr;
    if (count > 1 && tuple == nullptr) throw py::error_already_set();
    py::object result = py::reinterpret_steal<py::object>(tuple);
    int place = 0;
    for_each([&](const auto&, auto& state, int) {
      if constexpr (HandsOver<std::remove_cvref_t<decltype(state)>>) {
        if (place == count) return;
        py::object one = state.hand_over(execution);
        if constexpr (count == 1) {
          result = std::move(one);
        } else {
          PyTuple_SET_ITEM(tuple, place, one.release().ptr());
        }
        ++place;
      }
    });
    return result;
  }

  Call<A, Shape, first_result_only> call_;
  typename States::type states_;
};

template <class A, bool first_result_only, std::size_t... I>
void bind_entry(py::module_& module, const char* entry, void (*OpTable::*operation)(const A&),
                std::index_sequence<I...>) {
  module.def(entry, [entry, operation](std::conditional_t<(I >= 0), py::handle, void>... objects) {
    const py::handle all[] = {objects...};
    return Run<A, first_result_only>(entry)(operation, all);
  });
}

// The functions of one operation: those of its entries.
template <class A>
void bind_operation(py::module_& module, void (*OpTable::*operation)(const A&)) {
  constexpr roles::Entries entries = description_of<A>.entries;
  constexpr auto handles = std::make_index_sequence<Run<A, false>::handles>();
  bind_entry<A, false>(module, entries.full, operation, handles);
  if constexpr (entries.first_result_only != nullptr) {
    bind_entry<A, true>(module, entries.first_result_only, operation, handles);
  }
}

}  // namespace normdrop
