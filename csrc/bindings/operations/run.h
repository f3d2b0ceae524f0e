// Every described operation, from Python's arguments to results: arguments are checked, outputs made,
// the kernel called, results handed over. See ops/roles.h for the roles.
#pragma once

#include <array>
#include <utility>

#include "bindings/operations/role_states.h"

namespace normdrop {

template <class A>
inline constexpr auto description_of = description(static_cast<const A*>(nullptr));

template <class Tuple>
struct StatesOf;
template <class... Roles>
struct StatesOf<std::tuple<Roles...>> {
  using type = std::tuple<State<Roles>...>;
  static constexpr int handles = (0 + ... + State<Roles>::handles);
  static constexpr int count = sizeof...(Roles);
};

template <class State>
concept HandsOver =
    requires(const State& state, Execution& execution) { state.hand_over(execution); };

template <class A>
class Run {
  static constexpr const auto& described = description_of<A>;
  using Shape = std::remove_cvref_t<decltype(described.shape)>;
  using States = StatesOf<std::remove_cvref_t<decltype(described.roles)>>;

 public:
  static constexpr int handles = States::handles;
  using Operation = void (*OpTable::*)(const A&);

  Run(const char* function, bool first_result_only)
      : call_{function, described.shape, first_result_only} {}

  py::object operator()(Operation operation, const py::handle* objects) {
    check(objects);
    Execution execution(call_.x);
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
      ((body(std::get<I>(described.roles), std::get<I>(states_), at),
        at += std::remove_cvref_t<decltype(std::get<I>(states_))>::handles),
       ...);
    }(std::make_index_sequence<States::count>());
  }

  void check(const py::handle* objects) {
    for_each([&](const auto& role, auto& state, int at) { state.lead(call_, role, objects + at); });
    call_.parameter_dtype = call_.x.dtype;
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
    RowShape row{split.middle * split.inner, call_.x.item_bytes, 0};
    if constexpr (requires { call_.geometry.statistics_per_row(); }) {
      row.statistics = call_.geometry.statistics_per_row();
    }
    return row;
  }

  // An upper bound: every array and statistic that the operation may have.
  static std::int64_t bytes_of_row(const RowShape& row) {
    std::int64_t bytes = 0;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((bytes += bytes_in_row(std::get<I>(described.roles), row)), ...);
    }(std::make_index_sequence<States::count>());
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
    arguments.dtype = call_.x.dtype;
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
    execution.call(operation, call_.arguments, call_.x.size());
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

  // One object, or a tuple of them.
  py::object results(Execution& execution) {
    constexpr int most = States::count;
    std::array<py::object, most> objects;
    int count = 0;
    for_each([&](const auto&, auto& state, int) {
      if constexpr (HandsOver<std::remove_cvref_t<decltype(state)>>) {
        if (call_.first_result_only && count > 0) return;
        objects[count++] = state.hand_over(execution);
      }
    });
    if (count == 1) return std::move(objects[0]);
    py::tuple all(count);
    for (int i = 0; i < count; ++i) {
      PyTuple_SET_ITEM(all.ptr(), i, objects[i].release().ptr());
    }
    return all;
  }

  Call<A, Shape> call_;
  typename States::type states_;
};

// The functions of one operation: those of its entries.
template <class A>
void bind_operation(py::module_& module, void (*OpTable::*operation)(const A&)) {
  const auto define = [&]<std::size_t... I>(const char* entry, bool first_result_only,
                                            std::index_sequence<I...>) {
    module.def(entry, [entry, first_result_only,
                       operation](std::conditional_t<(I >= 0), py::handle, void>... objects) {
      const std::array<py::handle, sizeof...(I)> all{objects...};
      return Run<A>(entry, first_result_only)(operation, all.data());
    });
  };
  constexpr roles::Entries entries = description_of<A>.entries;
  constexpr auto indices = std::make_index_sequence<Run<A>::handles>();
  define(entries.full, false, indices);
  if (entries.first_result_only != nullptr) define(entries.first_result_only, true, indices);
}

}  // namespace normdrop
