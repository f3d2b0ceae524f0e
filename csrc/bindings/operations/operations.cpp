// The described operations as functions of the module, and the descriptions as Python sees them.
#include "bindings/operations/operations.h"

#include "bindings/operations/run.h"
#include "ops/operations.h"

namespace normdrop {
namespace {

template <class A>
concept Described = requires { description(static_cast<const A*>(nullptr)); };

py::dict told(const char* name, const char* kind) {
  py::dict result;
  result["name"] = name;
  result["role"] = kind;
  return result;
}

// What the tests need to make good and bad calls of it.
void tell(py::list& all, const auto& role) {
  if constexpr (requires { role.draw; }) {
    for (const char* name : {"seed", "call", "threshold", "device_draw"}) {
      all.append(told(name, role.kind));
    }
  } else if constexpr (requires {
                         role.of;
                         role.value;
                       }) {
    py::dict count = told(role.name, role.kind);
    count["of"] = role.of;
    all.append(count);
  } else {
    const char* name = nullptr;
    if constexpr (requires { role.name; }) name = role.name;
    if constexpr (requires { role.of; }) name = role.of;
    py::dict one = told(name, role.kind);
    if constexpr (requires { role.type; }) {
      one["type"] = role.type;
      py::list fields;
      for (const auto& field : role.fields) {
        if (field.name != nullptr) fields.append(field.name);
      }
      one["fields"] = fields;
    }
    if constexpr (requires { role.may_be; }) one["may_be"] = role.may_be;
    if constexpr (requires { role.presence; }) {
      one["optional"] = role.presence == roles::Presence::optional;
      one["one_for_all"] = role.presence == roles::Presence::required_or_one_for_all;
    }
    if constexpr (requires { role.optional; }) one["optional"] = role.optional;
    all.append(one);
  }
}

template <class A>
void add(py::module_& module, py::list& all, const char* name,
         void (*OpTable::*operation)(const A&)) {
  if constexpr (Described<A>) {
    bind_operation(module, operation);
    constexpr auto& described = description_of<A>;
    py::dict result;
    result["name"] = name;
    py::list entries;
    entries.append(described.entries.full);
    if (described.entries.first_result_only) entries.append(described.entries.first_result_only);
    result["entries"] = entries;
    result["shape"] = described.shape.kind;
    if constexpr (requires { described.shape.least_axes; }) {
      result["least_axes"] = described.shape.least_axes;
      result["least_values"] = described.shape.least_values;
    }
    result["rows_are_independent"] = described.rows == roles::Rows::independent;
    py::list told_roles;
    std::apply([&](const auto&... role) { (tell(told_roles, role), ...); }, described.roles);
    result["roles"] = told_roles;
    all.append(result);
  }
}

}  // namespace

void bind_operations(py::module_& module) {
  py::list all;
#define NORMDROP_BIND(name, Arguments) add<Arguments>(module, all, #name, &OpTable::name);
  NORMDROP_OPERATIONS(NORMDROP_BIND)
#undef NORMDROP_BIND
  // A fresh copy each time: nobody's changes are seen by others.
  module.def("operations", [descriptions = py::object(all)] {
    return py::module_::import("copy").attr("deepcopy")(descriptions);
  });
}

}  // namespace normdrop
