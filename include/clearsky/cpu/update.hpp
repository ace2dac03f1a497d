#pragma once
// What training does to parameters: optimizer steps, norms, clipping, averages. Each is one pass over the bytes of all
// tensors at once: a model has hundreds of tensors, most of them tiny, and a parallel loop for each would cost more
// than its work.
//
// The tensors are laid out side by side along one axis, each rounded up to kUpdateAlign elements; the axis is cut into
// blocks of kUpdateBlock. So the borders, and with them the bits of every sum, depend on the sizes alone.

#include <cmath>
#include <cstdint>
#include <limits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

inline constexpr int64_t kUpdateAlign = 64;                ///< elements; a multiple of every vector
inline constexpr int64_t kUpdateBlock = int64_t(1) << 15;  ///< elements: some 10 us of work

/// Where the tensors lie along the common axis: tensor i at [starts[i], starts[i] + counts[i]).
struct UpdateLayout {
  const int64_t* starts;  // (tensors + 1), the last being the length of the axis
  const int64_t* counts;  // (tensors)
  int64_t tensors;
};

/// Calls body(i, begin, end) for the parts of tensors that lie in [first, last) of the axis.
template <class Body>
inline void each_part_of_block(const UpdateLayout& layout, int64_t first, int64_t last, Body&& body) {
  // The last tensor that starts at or before `first`.
  int64_t low = 0, high = layout.tensors;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (layout.starts[middle] <= first ? low : high) = middle;
  }
  for (int64_t i = low; i < layout.tensors && layout.starts[i] < last; ++i) {
    const int64_t begin = first > layout.starts[i] ? first - layout.starts[i] : 0;
    const int64_t room = last - layout.starts[i];
    const int64_t end = layout.counts[i] < room ? layout.counts[i] : room;
    if (begin < end) body(i, begin, end);
  }
}

template <class Body>
inline void each_update_part(const UpdateLayout& layout, Body&& body) {
  if (layout.tensors == 0) return;
  parallel_for(layout.starts[layout.tensors], kUpdateBlock,
               [&](int64_t first, int64_t last) { each_part_of_block(layout, first, last, body); });
}

/// One parameter in a step of Adam; g is the gradient times AdamStep::grad_scale.
template <class T>
struct AdamTensor {
  T* value;              // (count)  p, changed
  const T* gradient;     // (count)  null leaves the parameter alone
  T* mean;               // (count)  m, changed
  T* square;             // (count)  v, changed
  T keep;                // p is first multiplied by this: 1 - lr decay (AdamW), or 1
  T l2;                  // and l2 p is added to g (Adam's weight decay), or 0
  T rate;                // lr / (1 - beta1^t)
  T root_scale;          // 1 / sqrt(1 - beta2^t)
  T* average = nullptr;  // (count)  a, changed, without a gradient too; or null
};

///     g <- scale g + l2 p      m <- m + (1 - beta1) (g - m)      v <- beta2 v + (1 - beta2) g^2
///     p <- keep p - rate m / (root_scale sqrt(v) + eps)      a <- a + average_share (p - a)
///
/// The average (AverageStep) comes with the step: by itself it would read p once more.
template <class T>
struct AdamStep {
  UpdateLayout layout;
  const AdamTensor<T>* tensors;
  T one_minus_beta1, beta2, one_minus_beta2, eps, grad_scale;
  T average_share = 0;
};

template <class T>
void adam_step(const AdamStep<T>& s) {
  each_update_part(s.layout, [&](int64_t index, int64_t begin, int64_t end) {
    const AdamTensor<T>& t = s.tensors[index];
    const auto follow = [&](int64_t i, int64_t n, Vec<T> p) {
      const Vec<T> a = load_partial(t.average + i, n);
      store_partial(t.average + i, Vec<T>(a + (p - a) * s.average_share), n);
    };
    if (t.gradient == nullptr) {
      if (t.average != nullptr)
        for (int64_t i = begin; i < end; i += kLanes<T>) follow(i, end - i, load_partial(t.value + i, end - i));
      return;
    }
    for (int64_t i = begin; i < end; i += kLanes<T>) {
      const int64_t n = end - i;
      const Vec<T> p = load_partial(t.value + i, n);
      const Vec<T> g = load_partial(t.gradient + i, n) * s.grad_scale + p * t.l2;
      Vec<T> m = load_partial(t.mean + i, n), v = load_partial(t.square + i, n);
      m = m + (g - m) * s.one_minus_beta1;
      v = v * s.beta2 + g * g * s.one_minus_beta2;
      store_partial(t.mean + i, m, n);
      store_partial(t.square + i, v, n);
      const Vec<T> next = p * t.keep - m * t.rate / (vec_sqrt<T>(v) * t.root_scale + s.eps);
      store_partial(t.value + i, next, n);
      if (t.average != nullptr) follow(i, n, next);
    }
  });
}
CLEARSKY_COMPILE_ONCE(adam_step)

/// One parameter in a step of gradient descent.
template <class T>
struct SgdTensor {
  T* value;           // (count)  p, changed
  const T* gradient;  // (count)  null leaves the parameter alone
  T* velocity;        // (count)  u, changed; null without momentum
  T decay;            // decay p is added to the gradient
  T rate;             // lr
};

///     g <- scale g + decay p      u <- momentum u + g      p <- p - rate u, or rate (g + momentum u) with nesterov
template <class T>
struct SgdStep {
  UpdateLayout layout;
  const SgdTensor<T>* tensors;
  T momentum, grad_scale;
  bool nesterov;
};

template <class T>
void sgd_step(const SgdStep<T>& s) {
  each_update_part(s.layout, [&](int64_t index, int64_t begin, int64_t end) {
    const SgdTensor<T>& t = s.tensors[index];
    if (t.gradient == nullptr) return;
    for (int64_t i = begin; i < end; i += kLanes<T>) {
      const int64_t n = end - i;
      const Vec<T> p = load_partial(t.value + i, n);
      Vec<T> g = load_partial(t.gradient + i, n) * s.grad_scale + p * t.decay;
      if (t.velocity != nullptr) {
        const Vec<T> u = load_partial(t.velocity + i, n) * s.momentum + g;
        store_partial(t.velocity + i, u, n);
        g = s.nesterov ? g + u * s.momentum : u;
      }
      store_partial(t.value + i, Vec<T>(p - g * t.rate), n);
    }
  });
}
CLEARSKY_COMPILE_ONCE(sgd_step)

/// a <- a + share (x - a), or with `exchange`, a <-> x.
template <class T>
struct AverageStep {
  UpdateLayout layout;
  T* const* averages;  // (tensors) of (count)  changed
  T* const* values;    // (tensors) of (count)  changed by exchange only
  T share;
  bool exchange;
};

template <class T>
void average_step(const AverageStep<T>& s) {
  each_update_part(s.layout, [&](int64_t index, int64_t begin, int64_t end) {
    T *a = s.averages[index], *x = s.values[index];
    for (int64_t i = begin; i < end; i += kLanes<T>) {
      const int64_t n = end - i;
      const Vec<T> average = load_partial(a + i, n), value = load_partial(x + i, n);
      if (s.exchange) {
        store_partial(a + i, value, n);
        store_partial(x + i, average, n);
      } else {
        store_partial(a + i, Vec<T>(average + (value - average) * s.share), n);
      }
    }
  });
}
CLEARSKY_COMPILE_ONCE(average_step)

/// x <- scale x, or, with a limit, x cut to [-limit, limit]; NaN stays NaN.
template <class T>
struct ScaleStep {
  UpdateLayout layout;
  T* const* values;  // (tensors) of (count)  changed; null leaves one out
  T scale;
  T limit;  // infinity for none
};

template <class T>
void scale_step(const ScaleStep<T>& s) {
  const Vec<T> low = splat<T>(-s.limit), high = splat<T>(s.limit);
  each_update_part(s.layout, [&](int64_t index, int64_t begin, int64_t end) {
    T* x = s.values[index];
    if (x == nullptr) return;
    for (int64_t i = begin; i < end; i += kLanes<T>) {
      Vec<T> v = load_partial(x + i, end - i) * s.scale;
      v = v > high ? high : v;
      v = v < low ? low : v;
      store_partial(x + i, v, end - i);
    }
  });
}
CLEARSKY_COMPILE_ONCE(scale_step)

/// The sum of squares of x, added up in double.
template <class T>
double sum_of_squares(const T* x, int64_t count) {
  constexpr int64_t lanes = kLanes<double>;
  typedef T Narrow __attribute__((vector_size(lanes * sizeof(T)), aligned(alignof(T)), may_alias));
  const auto squares = [](const T* p) {
    const Vec<double> v = __builtin_convertvector(*reinterpret_cast<const Narrow*>(p), Vec<double>);
    return v * v;
  };
  Vec<double> a{}, b{}, c{}, d{};  // four chains of additions hide each other's latency
  int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a += squares(x + i);
    b += squares(x + i + lanes);
    c += squares(x + i + 2 * lanes);
    d += squares(x + i + 3 * lanes);
  }
  for (; i + lanes <= count; i += lanes) a += squares(x + i);
  double total = sum_lanes<double>((a + b) + (c + d));
  for (; i < count; ++i) total += double(x[i]) * double(x[i]);
  return total;
}

template <class T>
struct SquaredNorm {
  UpdateLayout layout;
  const T* const* values;  // (tensors) of (count); null leaves one out
  double* total;           // written
};

template <class T>
void squared_norm(const SquaredNorm<T>& s) {
  const int64_t length = s.layout.tensors == 0 ? 0 : s.layout.starts[s.layout.tensors];
  *s.total = parallel_sum<double>(length, kUpdateBlock, [&](int64_t first, int64_t last) {
    double sum = 0;
    each_part_of_block(s.layout, first, last, [&](int64_t index, int64_t begin, int64_t end) {
      if (s.values[index] != nullptr) sum += sum_of_squares(s.values[index] + begin, end - begin);
    });
    return sum;
  });
}
CLEARSKY_COMPILE_ONCE(squared_norm)

}  // namespace clearsky::cpu
