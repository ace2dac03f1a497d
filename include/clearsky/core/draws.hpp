#pragma once
// Tensors of random numbers, as one piece of work that a device can do by itself: element i is number i of the key's
// sequence.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/device.hpp"
#include "clearsky/core/philox.hpp"

namespace clearsky::detail {

/// Uniform in [low, high).
template <class T>
struct UniformDraw {
  Key key;
  double low, high;
  T* y;  // (count)  written
  int64_t count;
};
/// Standard normal.
template <class T>
struct NormalDraw {
  Key key;
  T* y;  // (count)  written
  int64_t count;
};
/// Integers in [low, high).
template <class T>
struct IntegerDraw {
  Key key;
  int64_t low, high;
  T* y;  // (count)  written
  int64_t count;
};

template <class T>
void draw(const UniformDraw<T>& d) {
  for (int64_t i = 0; i < d.count; ++i) {
    d.y[i] = T(d.key.uniform(uint64_t(i), d.low, d.high));
    // A double just below `high` may round up to it.
    if (!(d.y[i] < T(d.high)) && d.low < d.high) d.y[i] = std::nextafter(T(d.high), T(d.low));
  }
}
template <class T>
void draw(const NormalDraw<T>& d) {
  for (int64_t i = 0; i < d.count; ++i) d.y[i] = T(d.key.normal(uint64_t(i)));
}
template <class T>
void draw(const IntegerDraw<T>& d) {
  for (int64_t i = 0; i < d.count; ++i) d.y[i] = T(d.low + d.key.integer(uint64_t(i), d.high - d.low));
}

template <class Draw>
inline Kernel<Draw> draw_kernel{"draw", static_cast<void (*)(const Draw&)>(draw)};

}  // namespace clearsky::detail
