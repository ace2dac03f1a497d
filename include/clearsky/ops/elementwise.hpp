#pragma once
// Arithmetic, element by element, with broadcasting: shapes are aligned at the back, and a size of 1 is repeated.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/elementwise.hpp"
#include "clearsky/cpu/map.hpp"
#include "clearsky/ops/compare.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

template <class T, class F, size_t N>
inline Kernel<cpu::Map<T, F, N>> map_kernel{"map", cpu::map<T, F, N>};

/// Strides of x as part of a broadcast shape: 0 along what is repeated.
template <class T>
Shape broadcast_strides(const Tensor<T>& x, const Shape& shape) {
  Shape strides = Shape::filled(shape.rank(), 0);
  for (int64_t d = 1; d <= x.rank(); ++d)
    if (x.shape()[size_t(x.rank() - d)] != 1)
      strides[size_t(shape.rank() - d)] = x.strides()[size_t(x.rank() - d)];
  return strides;
}

template <class T, class F>
Tensor<T> map_unary(const F& f, const Tensor<T>& x) {
  Tensor<T> y(x.shape(), x.device());
  map_kernel<T, F, 1>(x.device(), {f, {x.data()}, {x.strides()}, y.mutable_data(), x.shape()});
  return y;
}

template <class T, class F>
Tensor<T> map_binary(const char* op, const F& f, const Tensor<T>& a, const Tensor<T>& b) {
  check_same_device(op, a, b);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  Tensor<T> y(shape, a.device());
  map_kernel<T, F, 2>(a.device(), {f,
                                   {a.data(), b.data()},
                                   {broadcast_strides(a, shape), broadcast_strides(b, shape)},
                                   y.mutable_data(),
                                   shape});
  return y;
}

// The operations, one struct each: the function forward, the derivative in terms of other operations.

template <class T> struct AddOp;
template <class T> struct SubOp;
template <class T> struct MulOp;
template <class T> struct DivOp;
template <class T> struct NegOp;
template <class T> struct MulScalarOp;

}  // namespace detail

template <class T> Tensor<T> operator+(const Tensor<T>& a, const Tensor<T>& b) { return apply(detail::AddOp<T>{}, a, b); }
template <class T> Tensor<T> operator-(const Tensor<T>& a, const Tensor<T>& b) { return apply(detail::SubOp<T>{}, a, b); }
template <class T> Tensor<T> operator*(const Tensor<T>& a, const Tensor<T>& b) { return apply(detail::MulOp<T>{}, a, b); }
template <class T> Tensor<T> operator/(const Tensor<T>& a, const Tensor<T>& b) { return apply(detail::DivOp<T>{}, a, b); }
template <class T> Tensor<T> operator-(const Tensor<T>& a) { return apply(detail::NegOp<T>{}, a); }
template <class T> Tensor<T> operator*(const Tensor<T>& a, std::type_identity_t<T> s) { return apply(detail::MulScalarOp<T>{s}, a); }
template <class T> Tensor<T> operator*(std::type_identity_t<T> s, const Tensor<T>& a) { return a * s; }
template <class T> Tensor<T> operator/(const Tensor<T>& a, std::type_identity_t<T> s);
template <class T> Tensor<T> operator/(std::type_identity_t<T> s, const Tensor<T>& a);
template <class T> Tensor<T> operator+(const Tensor<T>& a, std::type_identity_t<T> s);
template <class T> Tensor<T> operator+(std::type_identity_t<T> s, const Tensor<T>& a) { return a + s; }
template <class T> Tensor<T> operator-(const Tensor<T>& a, std::type_identity_t<T> s) { return a + T(-s); }
template <class T> Tensor<T> operator-(std::type_identity_t<T> s, const Tensor<T>& a);

namespace detail {

template <class T>
struct AddOp {
  static constexpr const char* kName = "add";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    if (saved.recording()) shapes(saved, a, b);
    return map_binary(kName, cpu::fn::Add{}, a, b);
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {saved.needs(0) ? sum_to(g, saved.shapes[0]) : Tensor<T>(),
            saved.needs(1) ? sum_to(g, saved.shapes[1]) : Tensor<T>()};
  }
  static void shapes(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) {
    saved.shapes[0] = a.shape();
    saved.shapes[1] = b.shape();
  }
};

template <class T>
struct SubOp {
  static constexpr const char* kName = "sub";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    AddOp<T>::shapes(saved, a, b);
    return map_binary(kName, cpu::fn::Sub{}, a, b);
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {saved.needs(0) ? sum_to(g, saved.shapes[0]) : Tensor<T>(),
            saved.needs(1) ? sum_to(-g, saved.shapes[1]) : Tensor<T>()};
  }
};

/// d(ab) = b da + a db
template <class T>
struct MulOp {
  static constexpr const char* kName = "mul";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    AddOp<T>::shapes(saved, a, b);
    saved.keep(saved.needs(1) ? a : Tensor<T>());
    saved.keep(saved.needs(0) ? b : Tensor<T>());
    return map_binary(kName, cpu::fn::Mul{}, a, b);
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {saved.needs(0) ? sum_to(g * saved[1], saved.shapes[0]) : Tensor<T>(),
            saved.needs(1) ? sum_to(g * saved[0], saved.shapes[1]) : Tensor<T>()};
  }
};

/// d(a / b) = da / b - (a / b^2) db
template <class T>
struct DivOp {
  static constexpr const char* kName = "div";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    AddOp<T>::shapes(saved, a, b);
    saved.keep(saved.needs(1) ? a : Tensor<T>());
    saved.keep(b);
    return map_binary(kName, cpu::fn::Div{}, a, b);
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> da = g / saved[1];
    return {saved.needs(0) ? sum_to(da, saved.shapes[0]) : Tensor<T>(),
            saved.needs(1) ? sum_to(-(da * saved[0]) / saved[1], saved.shapes[1]) : Tensor<T>()};
  }
};

template <class T>
struct NegOp {
  static constexpr const char* kName = "neg";
  Tensor<T> forward(Saved<T>&, const Tensor<T>& a) const { return map_unary(cpu::fn::Neg{}, a); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {-g}; }
};

template <class T>
struct MulScalarOp {
  static constexpr const char* kName = "mul";
  T s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& a) const { return map_unary(cpu::fn::MulScalar<T>{s}, a); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {g * s}; }
};

template <class T>
struct AddScalarOp {
  static constexpr const char* kName = "add";
  T s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& a) const { return map_unary(cpu::fn::AddScalar<T>{s}, a); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {g}; }
};

template <class T>
struct ScalarSubOp {
  static constexpr const char* kName = "sub";
  T s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& a) const { return map_unary(cpu::fn::ScalarSub<T>{s}, a); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {-g}; }
};

/// d(s / a) = -(s / a) / a da
template <class T>
struct ScalarDivOp {
  static constexpr const char* kName = "div";
  T s;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a) const {
    saved.keep(a);
    return map_unary(cpu::fn::ScalarDiv<T>{s}, a);
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> a = saved[0];
    return {-(g * (apply(ScalarDivOp{s}, a) / a))};
  }
};

}  // namespace detail

template <class T> Tensor<T> operator/(const Tensor<T>& a, std::type_identity_t<T> s) { return a * T(T(1) / s); }
template <class T> Tensor<T> operator/(std::type_identity_t<T> s, const Tensor<T>& a) { return apply(detail::ScalarDivOp<T>{s}, a); }
template <class T> Tensor<T> operator+(const Tensor<T>& a, std::type_identity_t<T> s) { return apply(detail::AddScalarOp<T>{s}, a); }
template <class T> Tensor<T> operator-(std::type_identity_t<T> s, const Tensor<T>& a) { return apply(detail::ScalarSubOp<T>{s}, a); }

namespace detail {

template <class T>
Tensor<T> add_typed(const TensorBase& sum, const TensorBase& g) {
  // Nobody else sees the running sum, and no derivative of it will be taken: add in place.
  const bool in_place = !grad_enabled() && sum.storage()->references() == 1 && sum.is_contiguous();
  Tensor<T> a = Tensor<T>::from(sum);
  const Tensor<T> b = Tensor<T>::from(g);
  if (!in_place) return a + b;
  map_kernel<T, cpu::fn::Add, 2>(a.device(),
                                 {{}, {a.data(), b.data()}, {a.strides(), b.strides()}, a.mutable_data(), a.shape()});
  return a;
}

/// y = f(x), dy = g * derivative(x, y), the derivative made of operations.
#define CLEARSKY_UNARY_OP(Name, name, Function, keep, derivative)                             \
  template <class T>                                                                          \
  struct Name {                                                                               \
    static constexpr const char* kName = name;                                                \
    Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {                            \
      Tensor<T> y = map_unary(cpu::fn::Function{}, x);                                        \
      saved.keep;                                                                             \
      return y;                                                                               \
    }                                                                                         \
    Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {                   \
      const Tensor<T> v = saved[0];                                                           \
      return {derivative};                                                                    \
    }                                                                                         \
  };

CLEARSKY_UNARY_OP(ExpOp, "exp", Exp, keep_output(y), g* v)
CLEARSKY_UNARY_OP(LogOp, "log", Log, keep(x), g / v)
CLEARSKY_UNARY_OP(SqrtOp, "sqrt", Sqrt, keep_output(y), g* T(0.5) / v)
CLEARSKY_UNARY_OP(RsqrtOp, "rsqrt", Rsqrt, keep_output(y), g*(v* v* v) * T(-0.5))
CLEARSKY_UNARY_OP(TanhOp, "tanh", Tanh, keep_output(y), g*(T(1) - v * v))
CLEARSKY_UNARY_OP(SigmoidOp, "sigmoid", Sigmoid, keep_output(y), g*(v*(T(1) - v)))
CLEARSKY_UNARY_OP(AbsOp, "abs", Abs, keep(x), g* map_unary(cpu::fn::Sign{}, v.detach()))
CLEARSKY_UNARY_OP(SoftplusOp, "softplus", Softplus, keep(x), g* apply(SigmoidOp<T>{}, v))

#undef CLEARSKY_UNARY_OP

/// An activation with closed first and second derivatives; `Order` counts how often it was differentiated.
template <class T, template <int> class Family, int Order = 0>
struct ActivationOp {
  static constexpr const char* kName = "activation";
  static constexpr bool kTwiceDifferentiable = Order < 2;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    saved.keep(x);
    return map_unary(Family<Order>{}, x);
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const;
};

/// g f'(x) in one pass.
template <class T, template <int> class Family, int Order>
struct ActivationBackwardOp {
  static constexpr const char* kName = "activation_backward";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& g, const Tensor<T>& x) const {
    saved.keep(g);
    saved.keep(x);
    return map_binary(kName, cpu::fn::Times<Family, Order>{}, g, x);
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& gg) const {
    if constexpr (Order >= 2) {
      CLEARSKY_FAIL(AutogradError, kName, ": no third derivative of an activation; differentiate at most twice");
    } else {
      return {apply(ActivationBackwardOp<T, Family, Order>{}, gg, saved[1]),
              apply(ActivationBackwardOp<T, Family, Order + 1>{}, gg * saved[0], saved[1])};
    }
  }
};

template <class T, template <int> class Family, int Order>
Grads<T, 1> ActivationOp<T, Family, Order>::backward(const Saved<T>& saved, const Tensor<T>& g) const {
  return {apply(ActivationBackwardOp<T, Family, Order + 1>{}, g, saved[0])};
}

template <class T>
struct PowOp {
  static constexpr const char* kName = "pow";
  T p;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    saved.keep(x);
    return map_unary(cpu::fn::Pow<T>{p}, x);
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    if (p == T(0)) return {g * T(0)};
    return {g * apply(PowOp{p - T(1)}, saved[0]) * p};
  }
};

template <class T>
struct ClampOp {
  static constexpr const char* kName = "clamp";
  T low, high;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    saved.keep(x);
    return map_unary(cpu::fn::Clamp<T>{low, high}, x);
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {g * map_unary(cpu::fn::InsideMask<T>{low, high}, saved[0].detach())};
  }
};

/// g where x > 0, slope * g elsewhere; linear in g, so its own derivative is itself.
template <class T>
struct LeakyReluBackwardOp {
  static constexpr const char* kName = "leaky_relu_backward";
  T slope;
  Tensor<T> x;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    return map_binary(kName, cpu::fn::LeakyReluBackward<T>{slope}, g, x);
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& gg) const { return {apply(*this, gg)}; }
};

template <class T>
struct LeakyReluOp {
  static constexpr const char* kName = "leaky_relu";
  T slope;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    saved.keep(x);
    return slope == T(0) ? map_unary(cpu::fn::Relu{}, x) : map_unary(cpu::fn::LeakyRelu<T>{slope}, x);
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {apply(LeakyReluBackwardOp<T>{slope, saved[0].detach()}, g)};
  }
};

/// minimum(a, b); the gradient goes to the smaller one, half to each where they are equal.
template <class T, bool Largest>
struct ExtremumOp {
  static constexpr const char* kName = Largest ? "maximum" : "minimum";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    AddOp<T>::shapes(saved, a, b);
    saved.keep(a);
    saved.keep(b);
    if constexpr (Largest) return map_binary(kName, cpu::fn::Maximum{}, a, b);
    else return map_binary(kName, cpu::fn::Minimum{}, a, b);
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> a = saved[0].detach(), b = saved[1].detach();
    const Tensor<T> share = Largest ? map_binary(kName, cpu::fn::LessShare{}, b, a)
                                    : map_binary(kName, cpu::fn::LessShare{}, a, b);
    return {saved.needs(0) ? sum_to(g * share, saved.shapes[0]) : Tensor<T>(),
            saved.needs(1) ? sum_to(g * (T(1) - share), saved.shapes[1]) : Tensor<T>()};
  }
};

/// mask ? a : b, the mask as 0 and 1 in T. Not mask * a + (1 - mask) * b: an infinity not chosen must not matter.
struct Choose {
  template <class V> V operator()(V mask, V a, V b) const { return mask != V{} ? a : b; }
};

template <class T>
struct WhereOp {
  static constexpr const char* kName = "where";
  Tensor<T> mask;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    AddOp<T>::shapes(saved, a, b);
    const Shape shape = broadcast_shape(kName, broadcast_shape(kName, a.shape(), b.shape()), mask.shape());
    Tensor<T> y(shape, a.device());
    map_kernel<T, Choose, 3>(a.device(), {{},
                                          {mask.data(), a.data(), b.data()},
                                          {broadcast_strides(mask, shape), broadcast_strides(a, shape),
                                           broadcast_strides(b, shape)},
                                          y.mutable_data(),
                                          shape});
    return y;
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> zero = scalar<T>(T(0), g.device());
    return {saved.needs(0) ? sum_to(apply(WhereOp{mask}, g, zero), saved.shapes[0]) : Tensor<T>(),
            saved.needs(1) ? sum_to(apply(WhereOp{mask}, zero, g), saved.shapes[1]) : Tensor<T>()};
  }
};

}  // namespace detail

template <class T> Tensor<T> exp(const Tensor<T>& x) { return apply(detail::ExpOp<T>{}, x); }
/// Natural logarithm; -infinity at 0, NaN below.
template <class T> Tensor<T> log(const Tensor<T>& x) { return apply(detail::LogOp<T>{}, x); }
template <class T> Tensor<T> sqrt(const Tensor<T>& x) { return apply(detail::SqrtOp<T>{}, x); }
/// 1 / sqrt(x)
template <class T> Tensor<T> rsqrt(const Tensor<T>& x) { return apply(detail::RsqrtOp<T>{}, x); }
template <class T> Tensor<T> tanh(const Tensor<T>& x) { return apply(detail::TanhOp<T>{}, x); }
/// 1 / (1 + e^-x)
template <class T> Tensor<T> sigmoid(const Tensor<T>& x) { return apply(detail::SigmoidOp<T>{}, x); }
/// |x|; the derivative at 0 is 0.
template <class T> Tensor<T> abs(const Tensor<T>& x) { return apply(detail::AbsOp<T>{}, x); }
/// log(1 + e^x), without overflow.
template <class T> Tensor<T> softplus(const Tensor<T>& x) { return apply(detail::SoftplusOp<T>{}, x); }
/// x^p for a fixed exponent; NaN for x < 0 unless p is an integer.
template <class T> Tensor<T> pow(const Tensor<T>& x, double p) { return apply(detail::PowOp<T>{T(p)}, x); }
/// x^2
template <class T> Tensor<T> square(const Tensor<T>& x) { return pow(x, 2); }
/// x limited to [low, high]; the derivative is 1 inside and on the borders, 0 outside. NaN stays NaN.
/// @throws ValueError when low > high
template <class T>
Tensor<T> clamp(const Tensor<T>& x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  CLEARSKY_CHECK(ValueError, low <= high, "clamp: low ", double(low), " is above high ", double(high));
  return apply(detail::ClampOp<T>{low, high}, x);
}
/// The smaller of a and b; where equal, each gets half of the gradient.
template <class T> Tensor<T> minimum(const Tensor<T>& a, const Tensor<T>& b) { return apply(detail::ExtremumOp<T, false>{}, a, b); }
/// The larger of a and b; where equal, each gets half of the gradient.
template <class T> Tensor<T> maximum(const Tensor<T>& a, const Tensor<T>& b) { return apply(detail::ExtremumOp<T, true>{}, a, b); }
/// mask ? a : b, all three broadcast.
template <class T>
Tensor<T> where(const Tensor<bool>& mask, const Tensor<T>& a, const Tensor<T>& b) {
  return apply(detail::WhereOp<T>{cast<T>(mask)}, a, b);
}
/// max(x, 0); the derivative at 0 is 0.
template <class T> Tensor<T> relu(const Tensor<T>& x) { return apply(detail::LeakyReluOp<T>{T(0)}, x); }
/// x for x > 0, slope * x elsewhere.
template <class T> Tensor<T> leaky_relu(const Tensor<T>& x, double slope = 0.01) { return apply(detail::LeakyReluOp<T>{T(slope)}, x); }
/// x Phi(x), Phi the distribution function of the standard normal.
/// @source Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016, arXiv:1606.08415, eq. 1
template <class T> Tensor<T> gelu(const Tensor<T>& x) { return apply(detail::ActivationOp<T, cpu::fn::Gelu>{}, x); }
/// The tanh approximation of gelu, about 1e-3 off it. @source ibid., eq. 2
template <class T> Tensor<T> gelu_tanh(const Tensor<T>& x) { return apply(detail::ActivationOp<T, cpu::fn::GeluTanh>{}, x); }
/// x sigmoid(x)
template <class T> Tensor<T> silu(const Tensor<T>& x) { return apply(detail::ActivationOp<T, cpu::fn::Silu>{}, x); }

CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator+(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator+(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator-(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator-(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator*(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator*(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator/(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator/(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator-(const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator-(const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator*(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator*(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator*(float, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator*(double, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator+(float, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator+(double, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator-(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator-(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator/(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator/(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator/(float, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator/(double, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator+(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator+(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> operator-(float, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> operator-(double, const Tensor<double>&))
CLEARSKY_COMPILE_ONCE(exp)
CLEARSKY_COMPILE_ONCE(log)
CLEARSKY_COMPILE_ONCE(sqrt)
CLEARSKY_COMPILE_ONCE(rsqrt)
CLEARSKY_COMPILE_ONCE(tanh)
CLEARSKY_COMPILE_ONCE(sigmoid)
CLEARSKY_COMPILE_ONCE(abs)
CLEARSKY_COMPILE_ONCE(softplus)
CLEARSKY_COMPILE_ONCE(pow)
CLEARSKY_COMPILE_ONCE(square)
CLEARSKY_COMPILE_ONCE(clamp)
CLEARSKY_COMPILE_ONCE(minimum)
CLEARSKY_COMPILE_ONCE(maximum)
CLEARSKY_COMPILE_ONCE(where)
CLEARSKY_COMPILE_ONCE(relu)
CLEARSKY_COMPILE_ONCE(leaky_relu)
CLEARSKY_COMPILE_ONCE(gelu)
CLEARSKY_COMPILE_ONCE(gelu_tanh)
CLEARSKY_COMPILE_ONCE(silu)

}  // namespace clearsky
