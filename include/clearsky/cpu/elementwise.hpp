#pragma once
// The functions that elementwise ops apply, on vectors of either type. Each is a small struct with its constants, so
// that a GPU kernel can take the same struct.

#include <cmath>
#include <cstdint>

#include "clearsky/cpu/simd.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu::fn {

/// f(x) lane by lane for functions that have no vector form here.
template <class V, class F>
inline V lane_by_lane(V x, F&& f) {
  for (size_t i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = f(x[i]);
  return x;
}

// Two inputs.
struct Add {
  template <class V> V operator()(V a, V b) const { return a + b; }
};
struct Sub {
  template <class V> V operator()(V a, V b) const { return a - b; }
};
struct Mul {
  template <class V> V operator()(V a, V b) const { return a * b; }
};
struct Div {
  template <class V> V operator()(V a, V b) const { return a / b; }
};
// A NaN on either side is passed on: x != x holds for NaN only.
struct Minimum {
  template <class V> V operator()(V a, V b) const { return ((a < b) | (a != a)) ? a : b; }
};
struct Maximum {
  template <class V> V operator()(V a, V b) const { return ((a > b) | (a != a)) ? a : b; }
};
/// 1 where a < b, 1/2 where they are equal, else 0: the share of the gradient of minimum(a, b) that goes to a.
struct LessShare {
  template <class V> V operator()(V a, V b) const {
    const V zero{};
    return a < b ? zero + 1 : (a == b ? zero + decltype(a[0] + 0)(0.5) : zero);
  }
};

// One input, with a constant.
template <class T>
struct AddScalar {
  T s;
  template <class V> V operator()(V a) const { return a + s; }
};
template <class T>
struct MulScalar {
  T s;
  template <class V> V operator()(V a) const { return a * s; }
};
template <class T>
struct ScalarSub {  // s - a
  T s;
  template <class V> V operator()(V a) const { return s - a; }
};
template <class T>
struct ScalarDiv {  // s / a
  T s;
  template <class V> V operator()(V a) const { return s / a; }
};
template <class T>
struct Pow {
  T p;
  template <class V> V operator()(V a) const {
    if (p == T(2)) return a * a;
    if (p == T(1)) return a;
    if (p == T(3)) return a * a * a;
    if (p == T(-1)) return T(1) / a;
    return lane_by_lane(a, [this](T x) { return std::pow(x, p); });
  }
};
template <class T>
struct Clamp {
  T low, high;
  template <class V> V operator()(V a) const {
    const V lo = V{} + low, hi = V{} + high;
    const V b = a < lo ? lo : a;
    return b > hi ? hi : b;  // NaN fails both comparisons and is passed on
  }
};
/// 1 where low <= x <= high, else 0.
template <class T>
struct InsideMask {
  T low, high;
  template <class V> V operator()(V a) const {
    const V lo = V{} + low, hi = V{} + high, one = V{} + T(1);
    return ((a >= lo) & (a <= hi)) ? one : V{};
  }
};
template <class T>
struct LeakyRelu {
  T slope;
  template <class V> V operator()(V a) const { return a < V{} ? a * slope : a; }
};
/// g where x > 0, slope * g elsewhere.
template <class T>
struct LeakyReluBackward {
  T slope;
  template <class V> V operator()(V g, V x) const { return x > V{} ? g : g * slope; }
};

// One input.
struct Neg {
  template <class V> V operator()(V a) const { return -a; }
};
struct Exp {
  template <class V> V operator()(V a) const { return vec_exp<std::decay_t<decltype(a[0])>>(a); }
};
struct Log {
  template <class V> V operator()(V a) const { return vec_log<std::decay_t<decltype(a[0])>>(a); }
};
struct Tanh {
  template <class V> V operator()(V a) const { return vec_tanh<std::decay_t<decltype(a[0])>>(a); }
};
struct Sigmoid {
  template <class V> V operator()(V a) const { return vec_sigmoid<std::decay_t<decltype(a[0])>>(a); }
};
struct Sqrt {
  template <class V> V operator()(V a) const {
    return lane_by_lane(a, [](auto x) { return std::sqrt(x); });
  }
};
struct Rsqrt {
  template <class V> V operator()(V a) const {
    using T = std::decay_t<decltype(a[0])>;
    return T(1) / Sqrt()(a);
  }
};
struct Abs {
  template <class V> V operator()(V a) const { return a < V{} ? -a : a + V{}; }  // + 0 turns -0 into 0
};
/// -1, 0 or 1; the derivative of |x|, with 0 at 0.
struct Sign {
  template <class V> V operator()(V a) const {
    using T = std::decay_t<decltype(a[0])>;
    const V one = V{} + T(1);
    return a > V{} ? one : (a < V{} ? -one : a * T(0));
  }
};
struct Relu {
  template <class V> V operator()(V a) const { return a < V{} ? V{} : a; }  // NaN is passed on
};
struct Softplus {  // log(1 + e^x) = max(x, 0) + log1p(e^-|x|)
  template <class V> V operator()(V a) const {
    using T = std::decay_t<decltype(a[0])>;
    const V e = vec_exp<T>(a < V{} ? a : -a);
    const V u = e + T(1), one = V{} + T(1);
    // log1p(e) from log(u): the factor e / (u - 1) takes back the rounding of u. Kahan's trick.
    const V log1p = u == one ? e : vec_log<T>(u) * (e / (u - T(1)));
    return (a > V{} ? a : V{}) + log1p;
  }
};


/// gelu(x) = x Phi(x), Phi the normal distribution.  Order 0, 1 or 2: the function or a derivative.
///     gelu' = Phi + x phi        gelu'' = phi (2 - x^2)
template <int Order>
struct Gelu {
  template <class V> V operator()(V x) const {
    using T = std::decay_t<decltype(x[0])>;
    V distribution, density;
    vec_normal<T>(x, distribution, density);  // what is not used is left out when compiled
    if constexpr (Order == 0) return x * distribution;
    else if constexpr (Order == 1) return distribution + x * density;
    else return density * (T(2) - x * x);
  }
};

/// gelu(x) ~ x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3).  Order as in Gelu, t = tanh u:
///     f' = (1 + t)/2 + x/2 (1 - t^2) u'      f'' = (1 - t^2) (u' + x/2 u'' - x t u'^2)
template <int Order>
struct GeluTanh {
  template <class V> V operator()(V x) const {
    using T = std::decay_t<decltype(x[0])>;
    constexpr T k = T(0.79788456080286535588), c = T(0.044715);
    const V t = vec_tanh<T>(k * (x + c * x * x * x));
    if constexpr (Order == 0) return T(0.5) * x * (T(1) + t);
    const V du = k * (T(1) + T(3) * c * x * x), s = T(1) - t * t;
    if constexpr (Order == 1) return T(0.5) * (T(1) + t) + T(0.5) * x * s * du;
    const V ddu = T(6) * k * c * x;
    return s * (du + T(0.5) * x * ddu - x * t * du * du);
  }
};

/// silu(x) = x s, s = sigmoid(x).   f' = s (1 + x (1 - s))    f'' = s (1 - s) (2 + x (1 - 2 s))
template <int Order>
struct Silu {
  template <class V> V operator()(V x) const {
    using T = std::decay_t<decltype(x[0])>;
    const V s = vec_sigmoid<T>(x);
    if constexpr (Order == 0) return x * s;
    else if constexpr (Order == 1) return s * (T(1) + x * (T(1) - s));
    else return s * (T(1) - s) * (T(2) + x * (T(1) - T(2) * s));
  }
};

/// g f'(x) for one of the families above: the gradient in one pass.
template <template <int> class Family, int Order>
struct Times {
  template <class V> V operator()(V g, V x) const { return g * Family<Order>()(x); }
};

}  // namespace clearsky::cpu::fn
