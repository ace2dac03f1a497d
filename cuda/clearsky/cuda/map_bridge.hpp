#pragma once
// From the CPU's elementwise functions, which are types, to the numbers that a device knows them by.

#include <type_traits>

#include "clearsky/cuda/device_map.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky::cuda {

/// The number of a CPU function, and its constants.
template <class F>
struct MapCode;

#define CLEARSKY_MAP_CODE(Function, code, first, second)                  \
  template <>                                                             \
  struct MapCode<Function> {                                              \
    static constexpr MapFunction value = MapFunction::code;               \
    static float s([[maybe_unused]] const Function& f) { return first; }  \
    static float t([[maybe_unused]] const Function& f) { return second; } \
  }
#define CLEARSKY_MAP_PLAIN(Function, code) CLEARSKY_MAP_CODE(cpu::fn::Function, code, 0, 0)

CLEARSKY_MAP_PLAIN(Add, add);
CLEARSKY_MAP_PLAIN(Sub, sub);
CLEARSKY_MAP_PLAIN(Mul, mul);
CLEARSKY_MAP_PLAIN(Div, div);
CLEARSKY_MAP_PLAIN(Minimum, minimum);
CLEARSKY_MAP_PLAIN(Maximum, maximum);
CLEARSKY_MAP_PLAIN(LessShare, less_share);
CLEARSKY_MAP_CODE(cpu::fn::AddScalar<float>, add_scalar, f.s, 0);
CLEARSKY_MAP_CODE(cpu::fn::MulScalar<float>, mul_scalar, f.s, 0);
CLEARSKY_MAP_CODE(cpu::fn::ScalarSub<float>, scalar_sub, f.s, 0);
CLEARSKY_MAP_CODE(cpu::fn::ScalarDiv<float>, scalar_div, f.s, 0);
CLEARSKY_MAP_CODE(cpu::fn::Pow<float>, pow, f.p, 0);
CLEARSKY_MAP_CODE(cpu::fn::Clamp<float>, clamp, f.low, f.high);
CLEARSKY_MAP_CODE(cpu::fn::InsideMask<float>, inside_mask, f.low, f.high);
CLEARSKY_MAP_CODE(cpu::fn::LeakyRelu<float>, leaky_relu, f.slope, 0);
CLEARSKY_MAP_CODE(cpu::fn::LeakyReluBackward<float>, leaky_relu_backward, f.slope, 0);
CLEARSKY_MAP_PLAIN(Neg, neg);
CLEARSKY_MAP_PLAIN(Exp, exp);
CLEARSKY_MAP_PLAIN(Log, log);
CLEARSKY_MAP_PLAIN(Tanh, tanh);
CLEARSKY_MAP_PLAIN(Sigmoid, sigmoid);
CLEARSKY_MAP_PLAIN(Sqrt, sqrt);
CLEARSKY_MAP_PLAIN(Rsqrt, rsqrt);
CLEARSKY_MAP_PLAIN(Abs, abs);
CLEARSKY_MAP_PLAIN(Sign, sign);
CLEARSKY_MAP_PLAIN(Relu, relu);
CLEARSKY_MAP_PLAIN(Softplus, softplus);
CLEARSKY_MAP_PLAIN(Gelu<0>, gelu);
CLEARSKY_MAP_PLAIN(GeluTanh<0>, gelu_tanh);
CLEARSKY_MAP_PLAIN(Silu<0>, silu);

#undef CLEARSKY_MAP_PLAIN
#undef CLEARSKY_MAP_CODE

template <template <int> class Family, int Order>
struct MapCode<cpu::fn::Times<Family, Order>> {
  static_assert(Order == 1 || Order == 2);
  static constexpr MapFunction first() {
    if constexpr (std::is_same_v<Family<0>, cpu::fn::Gelu<0>>) return MapFunction::times_gelu_1;
    else if constexpr (std::is_same_v<Family<0>, cpu::fn::GeluTanh<0>>) return MapFunction::times_gelu_tanh_1;
    else return MapFunction::times_silu_1;
  }
  static constexpr MapFunction value = MapFunction(int(first()) + Order - 1);
  static float s(const cpu::fn::Times<Family, Order>&) { return 0; }
  static float t(const cpu::fn::Times<Family, Order>&) { return 0; }
};
template <>
struct MapCode<clearsky::detail::Choose> {
  static constexpr MapFunction value = MapFunction::choose;
  static float s(const clearsky::detail::Choose&) { return 0; }
  static float t(const clearsky::detail::Choose&) { return 0; }
};

/// A CPU call as a device's.
template <class F, size_t N>
DeviceMap device_map(const cpu::Map<float, F, N>& call) {
  DeviceMap m{};
  m.f = MapCode<F>::value;
  m.s = MapCode<F>::s(call.f);
  m.t = MapCode<F>::t(call.f);
  for (size_t k = 0; k < N; ++k) m.x[k] = call.x[k];
  m.y = call.y;
  m.set_shape(call.shape, call.strides);
  return m;
}

/// A function and its number of inputs, as a value.
template <class F, size_t N>
struct MapOf {};

/// Calls visit(MapOf<F, N>()) for every elementwise function of the operations.
template <class Visit>
void for_each_map(Visit&& visit) {
  namespace fn = cpu::fn;
  const auto unary = [&]<class... F>(std::type_identity<F>...) { (visit(MapOf<F, 1>()), ...); };
  const auto binary = [&]<class... F>(std::type_identity<F>...) { (visit(MapOf<F, 2>()), ...); };
  using std::type_identity;
  unary(type_identity<fn::AddScalar<float>>(), type_identity<fn::MulScalar<float>>(),
        type_identity<fn::ScalarSub<float>>(), type_identity<fn::ScalarDiv<float>>(), type_identity<fn::Pow<float>>(),
        type_identity<fn::Clamp<float>>(), type_identity<fn::InsideMask<float>>(),
        type_identity<fn::LeakyRelu<float>>(), type_identity<fn::Neg>(), type_identity<fn::Exp>(),
        type_identity<fn::Log>(), type_identity<fn::Tanh>(), type_identity<fn::Sigmoid>(), type_identity<fn::Sqrt>(),
        type_identity<fn::Rsqrt>(), type_identity<fn::Abs>(), type_identity<fn::Sign>(), type_identity<fn::Relu>(),
        type_identity<fn::Softplus>(), type_identity<fn::Gelu<0>>(), type_identity<fn::GeluTanh<0>>(),
        type_identity<fn::Silu<0>>());
  binary(type_identity<fn::Add>(), type_identity<fn::Sub>(), type_identity<fn::Mul>(), type_identity<fn::Div>(),
         type_identity<fn::Minimum>(), type_identity<fn::Maximum>(), type_identity<fn::LessShare>(),
         type_identity<fn::LeakyReluBackward<float>>(), type_identity<fn::Times<fn::Gelu, 1>>(),
         type_identity<fn::Times<fn::Gelu, 2>>(), type_identity<fn::Times<fn::GeluTanh, 1>>(),
         type_identity<fn::Times<fn::GeluTanh, 2>>(), type_identity<fn::Times<fn::Silu, 1>>(),
         type_identity<fn::Times<fn::Silu, 2>>());
  visit(MapOf<clearsky::detail::Choose, 3>());
}

}  // namespace clearsky::cuda
