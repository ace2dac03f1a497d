#pragma once
// Copies between strided layouts, with a conversion of the element type where asked for.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "clearsky/core/dtype.hpp"
#include "clearsky/core/shape.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::cpu {

template <class From, class To>
struct Copy {
  const From* x;
  Shape x_strides;
  To* y;  // written
  Shape y_strides;
  Shape shape;
};

template <class From, class To>
void copy(const Copy<From, To>& p) {
  const int64_t numel = p.shape.numel();
  if (numel == 0) return;
  if (p.shape.empty()) {
    *p.y = convert_element<To>(*p.x);
    return;
  }
  // Join dimensions that both sides walk as one, so that rows are long.
  Shape shape, xs, ys;
  for (size_t d = 0; d < p.shape.size(); ++d) {
    if (p.shape[d] == 1) continue;
    const int64_t n = p.shape[d];
    if (!shape.empty() && xs.back() == p.x_strides[d] * n && ys.back() == p.y_strides[d] * n) {
      const size_t last = shape.size() - 1;
      shape[last] *= n;
      xs[last] = p.x_strides[d];
      ys[last] = p.y_strides[d];
    } else {
      shape.push_back(n);
      xs.push_back(p.x_strides[d]);
      ys.push_back(p.y_strides[d]);
    }
  }
  if (shape.empty()) {
    *p.y = convert_element<To>(*p.x);
    return;
  }
  const size_t outer = shape.size() - 1;
  const int64_t width = shape[outer], rows = numel / width, x_step = xs[outer], y_step = ys[outer];
  const auto copy_row = [&](const From* x, To* y, int64_t count) {
    if constexpr (std::is_same_v<From, To>) {
      if (x_step == 1 && y_step == 1) {
        std::memcpy(y, x, size_t(count) * sizeof(To));
        return;
      }
    }
    for (int64_t i = 0; i < count; ++i) y[i * y_step] = convert_element<To>(x[i * x_step]);
  };
  constexpr int64_t kGrain = 32768;
  if (rows == 1) {
    parallel_for(width, kGrain, [&](int64_t begin, int64_t end) {
      copy_row(p.x + begin * x_step, p.y + begin * y_step, end - begin);
    });
    return;
  }
  parallel_for(rows, (std::max)(int64_t(1), kGrain / width), [&](int64_t begin, int64_t end) {
    // The first row's place by division, each next one's by counting on.
    Shape at = shape;
    int64_t x = 0, y = 0, rest = begin;
    for (size_t d = outer; d-- > 0;) {
      at[d] = rest % shape[d];
      rest /= shape[d];
      x += at[d] * xs[d];
      y += at[d] * ys[d];
    }
    for (int64_t row = begin; row < end; ++row) {
      copy_row(p.x + x, p.y + y, width);
      for (size_t d = outer; d-- > 0;) {
        x += xs[d];
        y += ys[d];
        if (++at[d] < shape[d]) break;
        x -= shape[d] * xs[d];
        y -= shape[d] * ys[d];
        at[d] = 0;
      }
    }
  });
}

}  // namespace clearsky::cpu
