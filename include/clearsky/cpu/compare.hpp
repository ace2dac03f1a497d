#pragma once
// Comparisons of dense tensors, element by element.

#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::cpu {

/// As operators of C++ compare: where a NaN takes part, all but not_equal are false. So greater is not less_equal's
/// opposite.
enum class Comparison : uint8_t { equal, not_equal, less, less_equal, greater, greater_equal };

template <class T>
struct Compare {
  Comparison comparison;
  const T* a;  // (count)
  const T* b;  // (count); null compares with `number`
  T number;
  bool* y;  // (count)  written
  int64_t count;
};

namespace detail {
template <class T, class F>
void compare_all(const Compare<T>& p, const F& f) {
  parallel_for(p.count, 16384, [&](int64_t begin, int64_t end) {
    if (p.b == nullptr)
      for (int64_t i = begin; i < end; ++i) p.y[i] = f(p.a[i], p.number);
    else
      for (int64_t i = begin; i < end; ++i) p.y[i] = f(p.a[i], p.b[i]);
  });
}
}  // namespace detail

template <class T>
void compare(const Compare<T>& p) {
  switch (p.comparison) {
    case Comparison::equal:
      return detail::compare_all(p, [](T u, T v) { return u == v; });
    case Comparison::not_equal:
      return detail::compare_all(p, [](T u, T v) { return u != v; });
    case Comparison::less:
      return detail::compare_all(p, [](T u, T v) { return u < v; });
    case Comparison::less_equal:
      return detail::compare_all(p, [](T u, T v) { return u <= v; });
    case Comparison::greater:
      return detail::compare_all(p, [](T u, T v) { return u > v; });
    case Comparison::greater_equal:
      return detail::compare_all(p, [](T u, T v) { return u >= v; });
  }
}
CLEARSKY_COMPILE_ONCE(compare)

}  // namespace clearsky::cpu
