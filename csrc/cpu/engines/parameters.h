// Weights, biases and their gradients of a half type: kernels take floats, so the parameters of a call
// are widened once, which is exact, and the gradients rounded once.
#pragma once

#include "cpu/engines/for_dtype.h"
#include "cpu/parallel.h"

namespace normdrop::NORMDROP_ISA {

template <class From, class To>
void convert_elements(const From* source, To* target, std::int64_t count) {
  for_each_pack(count, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
    store_float(target + i, load_float(source + i, extent), extent);
  });
}

// A channel's parameter; `otherwise` where there is none.
template <class T>
NORMDROP_INLINE double parameter(const void* values, std::int64_t channel, double otherwise) {
  return values ? static_cast<double>(static_cast<const wide<T>*>(values)[channel]) : otherwise;
}

NORMDROP_INLINE bool is_half(DType dtype) {
  return dtype == DType::float16 || dtype == DType::bfloat16;
}

// Calls body(element) with an element of a half type.
template <class Body>
NORMDROP_INLINE void for_half_type(DType dtype, Body&& body) {
  dtype == DType::float16 ? body(float16()) : body(bfloat16());
}

// One parameter as floats.
class WidenedParameter {
 public:
  WidenedParameter(const void* values, DType dtype, std::int64_t count)
      : floats_(values ? count : 0), given_(values != nullptr) {
    if (!given_) return;
    for_half_type(dtype, [&](auto element) {
      convert_elements(static_cast<const decltype(element)*>(values), floats_.data(), count);
    });
  }
  const void* data() const { return given_ ? floats_.data() : nullptr; }

 private:
  Scratch<float> floats_;
  bool given_;
};

// Where a kernel puts a parameter's gradient; `deliver` rounds it to where it belongs.
class WideGradient {
 public:
  WideGradient(void* target, DType dtype, std::int64_t count)
      : floats_(target ? count : 0), target_(target), dtype_(dtype), count_(count) {}
  void* data() const { return target_ ? floats_.data() : nullptr; }
  void deliver() const {
    if (!target_) return;
    for_half_type(dtype_, [&](auto element) {
      convert_elements(floats_.data(), static_cast<decltype(element)*>(target_), count_);
    });
  }

 private:
  Scratch<float> floats_;
  void* target_;
  DType dtype_;
  std::int64_t count_;
};

// Calls body(arguments) with `count` parameters that are wide.
template <class Forward, class Body>
NORMDROP_INLINE void with_wide_parameters(const Forward& a, std::int64_t count, Body&& body) {
  if (!is_half(a.parameter_dtype)) return body(a);
  const WidenedParameter weight(a.weight, a.parameter_dtype, count);
  const WidenedParameter bias(a.bias, a.parameter_dtype, count);
  Forward wide_arguments = a;
  wide_arguments.parameter_dtype = DType::float32;
  wide_arguments.weight = weight.data();
  wide_arguments.bias = bias.data();
  body(wide_arguments);
}

// The same with one parameter, and with the gradient of one.
template <auto parameter_field, class Arguments, class Body>
NORMDROP_INLINE void with_wide(const Arguments& a, std::int64_t count, Body&& body) {
  if (!is_half(a.parameter_dtype)) return body(a);
  const WidenedParameter parameter(a.*parameter_field, a.parameter_dtype, count);
  Arguments wide_arguments = a;
  wide_arguments.parameter_dtype = DType::float32;
  wide_arguments.*parameter_field = parameter.data();
  body(wide_arguments);
}

template <auto gradient_field, class Arguments, class Body>
NORMDROP_INLINE void with_wide_gradient(const Arguments& a, DType dtype, std::int64_t count,
                                        Body&& body) {
  if (!is_half(dtype)) return body(a);
  const WideGradient gradient(a.*gradient_field, dtype, count);
  Arguments wide_arguments = a;
  wide_arguments.*gradient_field = gradient.data();
  body(wide_arguments);
  gradient.deliver();
}

// The same for a backward pass, whose gradients are rounded after it.
template <class Backward, class Body>
NORMDROP_INLINE void with_wide_gradients(const Backward& a, std::int64_t count, Body&& body) {
  if (!is_half(a.parameter_dtype)) return body(a);
  const WidenedParameter weight(a.weight, a.parameter_dtype, count);
  const WideGradient grad_weight(a.grad_weight, a.parameter_dtype, count);
  const WideGradient grad_bias(a.grad_bias, a.parameter_dtype, count);
  Backward wide_arguments = a;
  wide_arguments.parameter_dtype = DType::float32;
  wide_arguments.weight = weight.data();
  wide_arguments.grad_weight = grad_weight.data();
  wide_arguments.grad_bias = grad_bias.data();
  body(wide_arguments);
  grad_weight.deliver();
  grad_bias.deliver();
}

// A parameter of the channels as one of their elements, `times` of each channel.
template <class T>
class RepeatedParameter {
 public:
  RepeatedParameter(const void* values, std::int64_t channels, std::int64_t times)
      : given_(values), repeated_(values && times > 1 ? channels * times : 0) {
    if (!values || times == 1) return;
    for (std::int64_t i = 0; i < channels * times; ++i) {
      repeated_[i] = static_cast<const wide<T>*>(values)[i / times];
    }
    given_ = repeated_.data();
  }
  const void* data() const { return given_; }

 private:
  const void* given_;
  Scratch<wide<T>> repeated_;
};

// A parameter of the channels as one of `rows` rows of them.
template <class T>
class RowsParameter {
 public:
  RowsParameter(const void* values, std::int64_t channels, std::int64_t rows)
      : given_(static_cast<const wide<T>*>(values)),
        repeated_(values && rows > 1 ? channels * rows : 0) {
    if (!values || rows == 1) return;
    for (std::int64_t i = 0; i < channels * rows; ++i) repeated_[i] = given_[i % channels];
    given_ = repeated_.data();
  }
  const wide<T>* data() const { return given_; }

 private:
  const wide<T>* given_;
  Scratch<wide<T>> repeated_;
};

}  // namespace normdrop::NORMDROP_ISA
