// What the fields of an operation's arguments are for. A header of csrc/ops declares, beside each
// struct, a `description(const Arguments*)`: how x is seen, and one role for every argument that
// Python passes, in that order, then one for every further result. The binding, its checks, the
// staging to a device and the tests that loop over all operations follow from it.
#pragma once

#include <cstdint>
#include <tuple>

namespace normdrop::roles {

template <class A>
using Size = std::int64_t A::*;

// How x is seen ----------------------------------------------------------------------------------

// As (outer, reduced, inner), normalised over neighbouring axes. A parameter has the shape along
// these axes, a statistic that of x without them.
template <class A>
struct OverAxes {
  static constexpr const char* kind = "over_axes";
  Size<A> outer;
  Size<A> reduced;
  Size<A> inner;
  bool c_order_only = false;  // elements are numbered, by their place in C order
};

// As (outer, channels, inner). Parameters and statistics have one value a channel.
template <class A>
struct PerChannel {
  static constexpr const char* kind = "per_channel";
  Size<A> outer;
  Size<A> channels;
  Size<A> inner;
  std::int64_t least_values = 0;  // of a channel
  int least_axes = 2;             // of x
};

// As (batch, before, channels, after), where axis 0 is the batch and neighbouring channels form
// groups. Parameters have one value a channel, statistics have the shape (batch, groups).
template <class A>
struct ChannelGroups {
  static constexpr const char* kind = "channel_groups";
  Size<A> batch;
  Size<A> before;
  Size<A> channels;
  Size<A> after;
  Size<A> groups;
};

// What Python passes -----------------------------------------------------------------------------

// The array that leads the call: where it lies, and its dtype, decide for the others.
template <class A>
struct Leader {
  static constexpr const char* kind = "leader";
  const char* name;
  const void* A::* data;
  Size<A> stride;  // between outer indices, in elements
};

// An array like the leader.
template <class A>
struct Like {
  static constexpr const char* kind = "like";
  const char* name;
  const void* A::* data;
  Size<A> stride;
  bool optional = false;
};

enum class Presence { optional, required, required_or_one_for_all };

// Values of a parameter's shape, in the dtype of the parameters.
template <class A>
struct Parameter {
  static constexpr const char* kind = "parameter";
  const char* name;
  const void* A::* data;
  Presence presence = Presence::optional;
};

// Float64 values of a statistic's shape.
template <class A>
struct Statistic {
  static constexpr const char* kind = "statistic";
  const char* name;
  const double* A::* data;
};

// Such values as fields of an object of that class of normdrop.results.
template <class A>
struct Statistics {
  static constexpr const char* kind = "statistics";
  const char* name;
  const char* type;
  Statistic<A> fields[2];
};

// Values of running statistics: float32 or float64, handed over as float64.
template <class A>
struct Running {
  static constexpr const char* kind = "running";
  const char* name;
  const double* A::* data;
};

// The axes that are normalised, the axis of the channels, the number of groups: see above.
struct Axes {
  static constexpr const char* kind = "axes";
  const char* name;
};

struct ChannelAxis {
  static constexpr const char* kind = "channel_axis";
  const char* name;
};

struct NumberOfGroups {
  static constexpr const char* kind = "number_of_groups";
  const char* name;
};

// A real number that is not negative.
template <class A>
struct Epsilon {
  static constexpr const char* kind = "epsilon";
  const char* name;
  double A::* value;
};

template <class A>
struct Flag {
  static constexpr const char* kind = "flag";
  const char* name;
  bool A::* value;
};

// Whether the gradient of a parameter is wanted that the backward pass does not need.
struct Wanted {
  static constexpr const char* kind = "wanted";
  const char* name;
};

// A whole number as a field of the object that a Statistics role names.
template <class A>
struct CountOfStatistics {
  static constexpr const char* kind = "count_of_statistics";
  const char* of;
  const char* name;
  double A::* value;
};

// Seed, call, threshold and a device's (seed, call) or None: four arguments.
template <class A>
struct Draw {
  static constexpr const char* kind = "draw";
  decltype(A::draw) A::* draw;
  double A::* scale;
  const std::uint64_t* A::* device_draw;
};

// What comes back --------------------------------------------------------------------------------

// An array like the leader; the caller may pass one to write to.
template <class A>
struct Result {
  static constexpr const char* kind = "result";
  const char* name;
  void* A::* data;
  Size<A> stride;
  const char* may_be;  // the argument that it may be itself
};

// A further one, always new.
template <class A>
struct NewResult {
  static constexpr const char* kind = "new_result";
  const char* name;
  void* A::* data;
  Size<A> stride;
};

// Float64 values of a statistic's shape; those of a short entry are not asked for.
template <class A>
struct NewStatistic {
  static constexpr const char* kind = "new_statistic";
  const char* name;
  double* A::* data;
};

// Values of a parameter's shape: the gradient of that parameter where it was given, or of one that
// is wanted.
template <class A>
struct Gradient {
  static constexpr const char* kind = "gradient";
  const char* of;
  void* A::* data;
};

// How many values a channel has.
struct NewCount {
  static constexpr const char* kind = "new_count";
  const char* name;
};

// ------------------------------------------------------------------------------------------------

// The functions of Python that call an operation: with all results, and with the first alone.
struct Entries {
  const char* full;
  const char* first_result_only = nullptr;
};

enum class Rows { independent, together };

template <class Shape, class... Roles>
struct Description {
  Entries entries;
  Rows rows;  // independent: outer indices may be computed one after another
  Shape shape;
  std::tuple<Roles...> roles;
};

template <class Shape, class... Roles>
constexpr auto describe(Entries entries, Rows rows, Shape shape, Roles... all) {
  return Description<Shape, Roles...>{entries, rows, shape, {all...}};
}

}  // namespace normdrop::roles
