#pragma once
// The structural similarity of two images, forward and backward, one output row at a time: a row is filtered along the
// height straight from the images into a buffer that stays in the first-level cache, then along the width.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

inline constexpr int64_t kSsimRadius = 5;  ///< the window is 11 x 11
inline constexpr double kSsimSigma = 1.5;  ///< pixels
inline constexpr double kSsimC1 = 0.01 * 0.01, kSsimC2 = 0.03 * 0.03;

template <class T>
struct SsimForward {
  const T* x;    // (batch, height, width, channels)
  const T* y;    // (batch, height, width, channels)
  T* mean;       // (1)  written
  T* d_mean_x;   // derivatives by the filtered maps, for backward, each of the images' shape and written;
  T* d_mean_y;   //   any of them may be null
  T* d_squares;  //
  T* d_product;  //
  int64_t batch, height, width, channels;
};

template <class T>
struct SsimBackward {
  const T* g;          // (1)
  const T* x;          // the image that the gradient is for
  const T* other;      // the other one
  const T* d_mean;     // by the filtered x
  const T* d_squares;  // by the filtered x^2 + y^2
  const T* d_product;  // by the filtered x y
  T* dx;               // written
  int64_t batch, height, width, channels;
};

namespace detail {

inline constexpr int64_t kSsimTaps = 2 * kSsimRadius + 1;

template <class T>
struct SsimWindow {
  T weight[kSsimTaps];
  SsimWindow() {
    double w[kSsimTaps], total = 0;
    for (int64_t k = 0; k < kSsimTaps; ++k) {
      const double d = double(k - kSsimRadius) / kSsimSigma;
      total += w[k] = std::exp(-0.5 * d * d);
    }
    for (int64_t k = 0; k < kSsimTaps; ++k) weight[k] = T(w[k] / total);
  }
};

/// N rows side by side, each with zeros around it: the radius in pixels on both sides, and a vector more.
template <class T, int N>
class SsimRows {
 public:
  SsimRows(int64_t width, int64_t channels)
      : border_(kSsimRadius * channels),
        size_(width * channels),
        step_((size_ + 2 * border_ + 2 * kLanes<T> - 1) / kLanes<T> * kLanes<T>),
        data_(N * step_) {
    std::fill_n(data_.data(), N * step_, T(0));
  }
  T* row(int k) { return data_.data() + k * step_ + border_; }
  /// Whole vectors were written: what went behind the end must be 0 again.
  void clear_behind() {
    for (int k = 0; k < N; ++k) std::fill_n(row(k) + size_, (std::min)(kLanes<T>, step_ - border_ - size_), T(0));
  }

 private:
  int64_t border_, size_, step_;
  Scratch<T> data_;
};

/// The first lanes from p; a whole vector where the array of `left` elements still has one.
template <class T>
inline Vec<T> load_inside(const T* p, int64_t left) {
  return left >= kLanes<T> ? load(p) : load_partial(p, left);
}

/// sum over t of w[t] * x[t step], t from -radius to radius. The window is symmetric: its two ends are added first.
template <class T>
inline Vec<T> ssim_sum(const SsimWindow<T>& w, const T* x, int64_t step) {
  Vec<T> sum = w.weight[kSsimRadius] * load(x);
  CLEARSKY_UNROLL
  for (int64_t t = 1; t <= kSsimRadius; ++t)
    sum += w.weight[kSsimRadius + t] * (load(x - t * step) + load(x + t * step));
  return sum;
}

/// The images' four maps, filtered along the height.
template <class T>
struct SsimMaps {
  Vec<T> x{}, y{}, squares{}, product{};

  /// Of pixels with the whole window inside.
  static SsimMaps inside(const SsimWindow<T>& w, const T* x, const T* y, int64_t row) {
    const Vec<T> a = load(x), b = load(y);
    const T centre = w.weight[kSsimRadius];
    SsimMaps m{centre * a, centre * b, centre * (a * a + b * b), centre * (a * b)};
    CLEARSKY_UNROLL
    for (int64_t t = 1; t <= kSsimRadius; ++t) {
      const T weight = w.weight[kSsimRadius + t];
      const Vec<T> a1 = load(x - t * row), a2 = load(x + t * row), b1 = load(y - t * row), b2 = load(y + t * row);
      m.x += weight * (a1 + a2);
      m.y += weight * (b1 + b2);
      m.squares += weight * (a1 * a1 + a2 * a2 + b1 * b1 + b2 * b2);
      m.product += weight * (a1 * b1 + a2 * b2);
    }
    return m;
  }
  /// Of rows `first` to `last` around the pixels.
  static SsimMaps cut(const SsimWindow<T>& w, const T* x, const T* y, int64_t row, int64_t first, int64_t last,
                      int64_t left) {
    SsimMaps m;
    for (int64_t t = first; t <= last; ++t) {
      const Vec<T> a = load_inside(x + t * row, left - t * row), b = load_inside(y + t * row, left - t * row);
      const T weight = w.weight[t + kSsimRadius];
      m.x += weight * a;
      m.y += weight * b;
      m.squares += weight * (a * a + b * b);
      m.product += weight * (a * b);
    }
    return m;
  }
};

}  // namespace detail

/// With F the window's filter, over zeros outside the image:
///
///     mx = F(x)   my = F(y)   S = F(x^2 + y^2)   P = F(x y)
///     a1 = 2 mx my + C1       a2 = 2 (P - mx my) + C2
///     b1 = mx^2 + my^2 + C1   b2 = S - mx^2 - my^2 + C2
///     v  = a1 a2 / (b1 b2)    mean = the mean of v
///
/// The two variances are needed as a sum only, so four maps are filtered and not five. Derivatives:
///
///     dv/dS = -v / b2         dv/dP = 2 a1 / (b1 b2)
///     dv/dmx = 2 my (a2 - a1) / (b1 b2) + 2 mx v (1/b2 - 1/b1)      and so for my
template <class T>
void ssim_forward(const SsimForward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t row = p.width * p.channels, numel = p.batch * p.height * row;
  const detail::SsimWindow<T> w;
  const double total = parallel_sum<double>(
      row == 0 ? 0 : p.batch * p.height, (std::max)(int64_t(1), 8192 / (row + 1)), [&](int64_t begin, int64_t end) {
        detail::SsimRows<T, 4> rows(p.width, p.channels);
        double sum = 0;
        for (int64_t r = begin; r < end; ++r) {
          const int64_t h = r % p.height;
          const int64_t first = (std::max)(-kSsimRadius, -h), last = (std::min)(kSsimRadius, p.height - 1 - h);
          for (int64_t i = 0; i < row; i += kLane) {
            const int64_t at = r * row + i, left = numel - at;
            const bool inside = last - first == 2 * kSsimRadius && left >= kSsimRadius * row + kLane;
            const auto maps = inside ? detail::SsimMaps<T>::inside(w, p.x + at, p.y + at, row)
                                     : detail::SsimMaps<T>::cut(w, p.x + at, p.y + at, row, first, last, left);
            store(rows.row(0) + i, maps.x);
            store(rows.row(1) + i, maps.y);
            store(rows.row(2) + i, maps.squares);
            store(rows.row(3) + i, maps.product);
          }
          rows.clear_behind();

          Vec<T> row_sum{};
          T rest = 0;
          for (int64_t i = 0; i < row; i += kLane) {
            const Vec<T> mx = detail::ssim_sum(w, rows.row(0) + i, p.channels);
            const Vec<T> my = detail::ssim_sum(w, rows.row(1) + i, p.channels);
            const Vec<T> squares = detail::ssim_sum(w, rows.row(2) + i, p.channels);
            const Vec<T> product = detail::ssim_sum(w, rows.row(3) + i, p.channels);
            const Vec<T> m_product = mx * my, m_squares = mx * mx + my * my;
            const Vec<T> a1 = T(2) * m_product + T(kSsimC1), a2 = T(2) * (product - m_product) + T(kSsimC2);
            const Vec<T> b1 = m_squares + T(kSsimC1), b2 = (squares - m_squares) + T(kSsimC2);
            const Vec<T> inverse = T(1) / (b1 * b2), v = a1 * a2 * inverse;
            const int64_t at = r * row + i, left = row - i;
            if (left >= kLane) row_sum += v;
            else
              for (int64_t k = 0; k < left; ++k) rest += v[k];
            const Vec<T> cross = T(2) * (a2 - a1) * inverse, own = T(2) * v * (b1 - b2) * inverse;
            if (p.d_mean_x != nullptr) store_partial(p.d_mean_x + at, Vec<T>(my * cross + mx * own), left);
            if (p.d_mean_y != nullptr) store_partial(p.d_mean_y + at, Vec<T>(mx * cross + my * own), left);
            if (p.d_squares != nullptr) store_partial(p.d_squares + at, Vec<T>(-v * b1 * inverse), left);
            if (p.d_product != nullptr) store_partial(p.d_product + at, Vec<T>(T(2) * a1 * inverse), left);
          }
          sum += double(sum_lanes<T>(row_sum)) + double(rest);
        }
        return sum;
      });
  *p.mean = T(total / double(numel));
}
CLEARSKY_COMPILE_ONCE(ssim_forward)

/// dx = g / numel * (F(dv/dmx) + 2 x F(dv/dS) + y F(dv/dP)): the filter is symmetric, so it is its own transpose.
template <class T>
void ssim_backward(const SsimBackward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t row = p.width * p.channels, numel = p.batch * p.height * row;
  if (numel == 0) return;
  const detail::SsimWindow<T> w;
  const T scale = T(double(*p.g) / double(numel));
  parallel_for(p.batch * p.height, (std::max)(int64_t(1), 8192 / row), [&](int64_t begin, int64_t end) {
    detail::SsimRows<T, 3> rows(p.width, p.channels);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t h = r % p.height;
      const int64_t first = (std::max)(-kSsimRadius, -h), last = (std::min)(kSsimRadius, p.height - 1 - h);
      for (int64_t i = 0; i < row; i += kLane) {
        Vec<T> mean{}, squares{}, product{};
        const int64_t here = r * row + i;
        if (last - first == 2 * kSsimRadius && numel - here >= kSsimRadius * row + kLane) {
          store(rows.row(0) + i, detail::ssim_sum(w, p.d_mean + here, row));
          store(rows.row(1) + i, detail::ssim_sum(w, p.d_squares + here, row));
          store(rows.row(2) + i, detail::ssim_sum(w, p.d_product + here, row));
          continue;
        }
        for (int64_t t = first; t <= last; ++t) {
          const int64_t at = (r + t) * row + i, left = numel - at;
          const T weight = w.weight[t + kSsimRadius];
          mean += weight * detail::load_inside(p.d_mean + at, left);
          squares += weight * detail::load_inside(p.d_squares + at, left);
          product += weight * detail::load_inside(p.d_product + at, left);
        }
        store(rows.row(0) + i, mean);
        store(rows.row(1) + i, squares);
        store(rows.row(2) + i, product);
      }
      rows.clear_behind();
      for (int64_t i = 0; i < row; i += kLane) {
        const int64_t at = r * row + i, left = row - i;
        const Vec<T> mean = detail::ssim_sum(w, rows.row(0) + i, p.channels);
        const Vec<T> squares = detail::ssim_sum(w, rows.row(1) + i, p.channels);
        const Vec<T> product = detail::ssim_sum(w, rows.row(2) + i, p.channels);
        const Vec<T> x = detail::load_inside(p.x + at, numel - at),
                     other = detail::load_inside(p.other + at, numel - at);
        store_partial(p.dx + at, Vec<T>(scale * (mean + T(2) * x * squares + other * product)), left);
      }
    }
  });
}
CLEARSKY_COMPILE_ONCE(ssim_backward)

}  // namespace clearsky::cpu
