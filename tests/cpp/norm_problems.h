// Data of one norm and what must come out: worked out once, asked for in many variants.
#pragma once

#include <string>
#include <vector>

#include "expected.h"
#include "reference.h"
#include "small_float.h"

namespace normdrop::driver {

// What some of the slices hold, to reach the paths that are taken for it alone.
enum class Data {
  ordinary,
  far_from_zero,  // mean / std beyond what single precision is used for
  infinite,       // an infinity in the middle
  extreme,        // squares beyond the range of the type, and constants; eps = 0
};

const char* text(Data data);
std::string text(const Shape& shape);

// In [-1, 1), another number for every (stream, index).
double noise(std::uint64_t stream, std::int64_t index);

template <class T>
std::vector<T> noise_values(std::uint64_t stream, std::int64_t count, double offset = 0.0) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = static_cast<T>(noise(stream, i) + offset);
  }
  return values;
}

// Times this, values of the order of 1 have squares beyond the range of their arithmetic type.
template <class T>
inline constexpr double huge = sizeof(T) == 8   ? 1e200
                               : sizeof(T) == 4 ? 1e37f
                                                : 1e4;

// Every third slice is as `data` says, so that groups of neighbours are mixed.
template <class T, class Slices>
std::vector<T> norm_input(const Slices& slices, Data data) {
  std::vector<T> x = noise_values<T>(1, slices.shape.size(), 0.5);
  if (data == Data::ordinary) return x;
  for (std::int64_t slice = 0; slice < slices.slices(); ++slice) {
    const int kind = static_cast<int>(slice % 3);
    std::int64_t k = 0;
    slices.for_each(slice, [&](std::size_t i, std::size_t) {
      if (data == Data::far_from_zero && kind == 1)
        x[i] = static_cast<T>(static_cast<double>(x[i]) + 5000.0);
      if (data == Data::infinite && kind == 1 && k == slices.length() / 2) x[i] = T(INFINITY);
      if (data == Data::extreme && kind == 0) x[i] = T(3);
      if (data == Data::extreme && kind == 1)
        x[i] = static_cast<T>(static_cast<double>(x[i]) * huge<T>);
      if (data == Data::extreme && kind == 2 && sizeof(T) == 8) {
        x[i] = static_cast<T>(static_cast<double>(x[i]) * 1e-170);
      }
      ++k;
    });
  }
  return x;
}

template <class P>
struct Parameters {
  std::vector<P> weight;  // empty: absent
  std::vector<P> bias;
  Parameters(std::int64_t count, bool has_weight, bool has_bias) {
    if (has_weight) weight = noise_values<P>(2, count, 1.5);
    if (has_bias) bias = noise_values<P>(3, count);
    has_weight_ = has_weight;
    has_bias_ = has_bias;
  }
  bool has_weight() const { return has_weight_; }
  bool has_bias() const { return has_bias_; }

 private:
  bool has_weight_;  // also of no element
  bool has_bias_;
};

template <class T, class Slices, class P = T>
struct ForwardProblem {
  Slices slices;
  Data data;
  double eps;
  Parameters<P> parameters;
  std::vector<T> x;
  Expected<T> y;
  Expected<double> mean;
  Expected<double> var;
  Expected<double> inv_std;

  ForwardProblem(const Shape& shape, Data kind, bool has_weight, bool has_bias)
      : slices{shape},
        data(kind),
        eps(kind == Data::extreme ? 0.0 : 1e-3),
        parameters(shape.middle, has_weight, has_bias),
        x(norm_input<T>(slices, kind)) {
    y.values.resize(x.size());
    for (std::int64_t s = 0; s < slices.slices(); ++s) {
      const Stats stats = stats_of(x, slices, s, eps);
      mean.values.push_back(stats.mean);
      var.values.push_back(stats.var);
      inv_std.values.push_back(stats.inv_std);
      normalise(x, parameters.weight, parameters.bias, slices, s, stats, &y.values);
    }
  }

  std::string text() const {
    return driver::text(slices.shape) + (parameters.has_weight() ? ", weight" : "") +
           (parameters.has_bias() ? ", bias" : "") + driver::text(data);
  }
};

template <class T, class Slices, class P = T>
struct BackwardProblem {
  Slices slices;
  Data data;
  bool frozen;
  Parameters<P> parameters;
  std::vector<T> x;
  std::vector<T> grad_output;
  std::vector<double> mean;
  std::vector<double> inv_std;
  Expected<T> grad_x;
  Expected<P> grad_weight;
  Expected<P> grad_bias;

  BackwardProblem(const Shape& shape, Data kind, bool has_weight, bool is_frozen)
      : slices{shape},
        data(kind),
        frozen(is_frozen),
        parameters(shape.middle, has_weight, false),
        x(norm_input<T>(slices, kind)),
        grad_output(noise_values<T>(4, shape.size())) {
    const auto count = static_cast<std::size_t>(shape.middle);
    Gradients gradients{std::vector<double>(x.size()), std::vector<double>(count),
                        std::vector<double>(count)};
    for (std::int64_t s = 0; s < slices.slices(); ++s) {
      const Stats stats = stats_of(x, slices, s, 1e-3);
      mean.push_back(stats.mean);
      inv_std.push_back(stats.inv_std);
      add_gradients(grad_output, x, parameters.weight, slices, s, stats.mean, stats.inv_std, frozen,
                    &gradients);
    }
    grad_x.values = gradients.x;
    grad_weight.values = gradients.weight;
    grad_bias.values = gradients.bias;
  }

  std::string text() const {
    return driver::text(slices.shape) + (parameters.has_weight() ? ", weight" : "") +
           (frozen ? ", frozen" : "") + driver::text(data);
  }
};

// 0 .. four vectors of the widest registers plus three, which is as many for both dtypes here: the
// kernels work on groups of 16 elements, four of them and three more.
inline constexpr std::int64_t longest_short_length = 67;

// 2^k - 1, 2^k and 2^k + 1 from 2^first to 2^last. Where a kernel takes another way, at a length in
// elements, in bytes or in rows, it does so at a power of two; see cpu/tuning.h.
std::vector<std::int64_t> around_powers_of_two(int first, int last);

}  // namespace normdrop::driver
