#pragma once
// A linear map of images that works on rows and columns apart: y = A_h x A_w^T in each channel, both matrices sparse.
// Resizing, average pooling and the gradients of these and of padding are such maps.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

/// One axis of such a map: output i is the sum of weight[k] * input[source[k]] over first[i] <= k < first[i + 1].
template <class T>
struct AxisMap {
  Workspace<int64_t> first{0};
  Workspace<int64_t> source;
  Workspace<T> weight;

  int64_t outputs() const { return int64_t(first.size()) - 1; }

  /// Adds one input to the output that is being described. Weights of 0 are left out, so that a NaN which counts
  /// nothing does not spread.
  void add(int64_t input, double w) {
    if (w == 0) return;
    if (int64_t(source.size()) > first.back() && source.back() == input) {
      weight.back() += T(w);
      return;
    }
    source.push_back(input);
    weight.push_back(T(w));
  }
  void next_output() { first.push_back(int64_t(source.size())); }

  /// The map the other way: its matrix transposed. With it the gradient is a gather too and needs no atomics.
  /// @param inputs  the size of the input axis
  AxisMap transposed(int64_t inputs) const {
    AxisMap t;
    t.first.assign(size_t(inputs) + 1, 0);
    t.source.resize(source.size());
    t.weight.resize(source.size());
    for (int64_t s : source) ++t.first[size_t(s) + 1];
    for (int64_t i = 0; i < inputs; ++i) t.first[size_t(i) + 1] += t.first[size_t(i)];
    Workspace<int64_t> place(t.first.begin(), t.first.end() - 1);
    for (int64_t i = 0; i < outputs(); ++i)
      for (int64_t k = first[size_t(i)]; k < first[size_t(i) + 1]; ++k) {
        const auto at = size_t(place[size_t(source[size_t(k)])]++);
        t.source[at] = i;
        t.weight[at] = weight[size_t(k)];
      }
    return t;
  }
};

namespace detail {

/// y[k] = sum over t of weight[t] * x[source[t] * step + k] for k < count. Reads and writes whole vectors: up to
/// kLanes - 1 elements behind `count`, on both sides.
template <class T, int Taps>
inline void weighted_sum_whole(const T* x, int64_t step, const int64_t* source, const T* weight, int64_t taps, T* y,
                               int64_t count) {
  const int64_t n = Taps > 0 ? Taps : taps;
  for (int64_t k = 0; k < count; k += kLanes<T>) {
    Vec<T> sum{};
    for (int64_t t = 0; t < n; ++t) sum += weight[t] * load(x + source[t] * step + k);
    store(y + k, sum);
  }
}
template <class T>
inline void weighted_sum_whole(const T* x, int64_t step, const int64_t* source, const T* weight, int64_t taps, T* y,
                               int64_t count) {
  if (taps == 1) weighted_sum_whole<T, 1>(x, step, source, weight, taps, y, count);
  else if (taps == 2) weighted_sum_whole<T, 2>(x, step, source, weight, taps, y, count);
  else if (taps == 4) weighted_sum_whole<T, 4>(x, step, source, weight, taps, y, count);
  else weighted_sum_whole<T, 0>(x, step, source, weight, taps, y, count);
}

/// The same for what a row leaves over: reads and writes nothing behind `count` < kLanes.
template <class T>
inline void weighted_sum_rest(const T* x, int64_t step, const int64_t* source, const T* weight, int64_t taps, T* y,
                              int64_t count) {
  Vec<T> sum{};
  for (int64_t t = 0; t < taps; ++t) sum += weight[t] * load_partial(x + source[t] * step, count);
  store_partial(y, sum, count);
}

}  // namespace detail

/// Applies `rows` along the height and `columns` along the width.
/// @param x  (batch, height, width, channels)
/// @param y  (batch, rows.outputs(), columns.outputs(), channels)  written
template <class T>
void apply_separable(const T* x, T* y, int64_t batch, int64_t height, int64_t width, int64_t channels,
                     const AxisMap<T>& rows, const AxisMap<T>& columns) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t out_height = rows.outputs(), out_width = columns.outputs();
  const int64_t in_row = width * channels, out_row = out_width * channels;
  if (batch * out_height * out_row == 0) return;
  parallel_for(batch * out_height, (std::max)(int64_t(1), 16384 / out_row), [&](int64_t begin, int64_t end) {
    Scratch<T> row(in_row + kLane);  // and a vector more, so that reading whole vectors stays inside
    std::fill_n(row.data() + in_row, kLane, T(0));
    for (int64_t r = begin; r < end; ++r) {
      // Along the height, into a row that stays in the cache.
      const T* image = x + r / out_height * height * in_row;
      const int64_t i = r % out_height, at = rows.first[size_t(i)], taps = rows.first[size_t(i) + 1] - at;
      const int64_t whole = in_row / kLane * kLane;
      detail::weighted_sum_whole(image, in_row, rows.source.data() + at, rows.weight.data() + at, taps, row.data(),
                                 whole);
      if (whole < in_row)
        detail::weighted_sum_rest(image + whole, in_row, rows.source.data() + at, rows.weight.data() + at, taps,
                                  row.data() + whole, in_row - whole);
      // Along the width. A whole vector spills into the next pixel, which is written after this one; only at the end
      // of the row nothing may spill.
      T* out = y + r * out_row;
      for (int64_t w = 0; w < out_width; ++w) {
        const int64_t from = columns.first[size_t(w)], count = columns.first[size_t(w) + 1] - from;
        const int64_t* source = columns.source.data() + from;
        const T* weight = columns.weight.data() + from;
        const int64_t room = out_row - w * channels;
        const int64_t spill = (channels + kLane - 1) / kLane * kLane;
        T* pixel = out + w * channels;
        if (spill <= room) {
          detail::weighted_sum_whole(row.data(), channels, source, weight, count, pixel, channels);
          continue;
        }
        const int64_t inside = channels / kLane * kLane;
        detail::weighted_sum_whole(row.data(), channels, source, weight, count, pixel, inside);
        for (int64_t c = inside; c < channels; c += kLane)
          detail::weighted_sum_rest(row.data() + c, channels, source, weight, count, pixel + c, channels - c);
      }
    }
  });
}

}  // namespace clearsky::cpu
