#pragma once
// Gates that split the channels of a pixel in two halves [a b] and multiply them, one pass each way.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

template <class T>
struct GateForward {
  const T* x;  // (rows, 2 half)
  T* y;        // (rows, half)  written
  int64_t rows, half;
};
template <class T>
struct GateBackward {
  const T* x;   // (rows, 2 half)
  const T* dy;  // (rows, half)
  T* dx;        // (rows, 2 half)  written
  int64_t rows, half;
};

namespace detail {

/// body(row, column, lanes) over (rows, half) in vectors.
template <class T, class Body>
void each_gate_vector(int64_t rows, int64_t half, Body&& body) {
  parallel_for(rows, (std::max)(int64_t(1), 8192 / (half + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < half; c += kLanes<T>) body(r, c, (std::min)(kLanes<T>, half - c));
  });
}

}  // namespace detail

/// y = gelu(a) b = a Phi(a) b
template <class T>
void gelu_gate_forward(const GateForward<T>& p) {
  detail::each_gate_vector<T>(p.rows, p.half, [&](int64_t r, int64_t c, int64_t left) {
    const T* x = p.x + r * 2 * p.half + c;
    const Vec<T> a = load_partial(x, left);
    Vec<T> distribution, density;
    vec_normal<T>(a, distribution, density);
    store_partial(p.y + r * p.half + c, a * distribution * load_partial(x + p.half, left), left);
  });
}
CLEARSKY_COMPILE_ONCE(gelu_gate_forward)

/// da = dy b (Phi(a) + a phi(a)),  db = dy a Phi(a)
template <class T>
void gelu_gate_backward(const GateBackward<T>& p) {
  detail::each_gate_vector<T>(p.rows, p.half, [&](int64_t r, int64_t c, int64_t left) {
    const T* x = p.x + r * 2 * p.half + c;
    T* dx = p.dx + r * 2 * p.half + c;
    const Vec<T> a = load_partial(x, left), b = load_partial(x + p.half, left);
    const Vec<T> g = load_partial(p.dy + r * p.half + c, left);
    Vec<T> distribution, density;
    vec_normal<T>(a, distribution, density);
    store_partial(dx, g * b * (distribution + a * density), left);
    store_partial(dx + p.half, g * (a * distribution), left);
  });
}
CLEARSKY_COMPILE_ONCE(gelu_gate_backward)

/// y = a b
template <class T>
void simple_gate_forward(const GateForward<T>& p) {
  detail::each_gate_vector<T>(p.rows, p.half, [&](int64_t r, int64_t c, int64_t left) {
    const T* x = p.x + r * 2 * p.half + c;
    store_partial(p.y + r * p.half + c, load_partial(x, left) * load_partial(x + p.half, left), left);
  });
}
CLEARSKY_COMPILE_ONCE(simple_gate_forward)

/// da = dy b,  db = dy a
template <class T>
void simple_gate_backward(const GateBackward<T>& p) {
  detail::each_gate_vector<T>(p.rows, p.half, [&](int64_t r, int64_t c, int64_t left) {
    const T* x = p.x + r * 2 * p.half + c;
    T* dx = p.dx + r * 2 * p.half + c;
    const Vec<T> g = load_partial(p.dy + r * p.half + c, left);
    store_partial(dx, g * load_partial(x + p.half, left), left);
    store_partial(dx + p.half, g * load_partial(x, left), left);
  });
}
CLEARSKY_COMPILE_ONCE(simple_gate_backward)

}  // namespace clearsky::cpu
