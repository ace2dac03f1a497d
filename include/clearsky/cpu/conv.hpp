#pragma once
// Convolution of channels-last images: forward, data gradient and weight gradient, for any window, stride, dilation and
// groups. Depthwise windows have kernels of their own (conv_depthwise.hpp).
//
// All three are matrix products on windows that are never copied out (no im2col): a band of padded input rows lies in
// scratch memory, and a row of a window is a run of kW * C elements in it, so that the tile kernel of gemm.hpp reads it
// directly, one "segment" per row of the window. Neighbouring output pixels are neighbouring rows of A, `stride * C`
// apart.
//
// The data gradient is a convolution of dy with the mirrored, transposed weights, where dy is spread out with zeros
// between its pixels if the stride is above 1.

#include <algorithm>
#include <cstdint>

#include "clearsky/cpu/gemm.hpp"

namespace clearsky::cpu {

/// The sizes of one convolution. Image (batch, height, width, channels), window (outputs, window_height, window_width,
/// channels / groups), result (batch, out_height, out_width, outputs).
struct ConvShape {
  int64_t batch, height, width, channels;
  int64_t outputs, window_height, window_width, groups;
  int64_t out_height, out_width;
  int64_t stride_height, stride_width, padding_height, padding_width, dilation;

  bool pointwise() const {
    return window_height == 1 && window_width == 1 && stride_height == 1 && stride_width == 1 && padding_height == 0 &&
           padding_width == 0 && groups == 1;
  }
};

template <class T>
struct Conv2dForward {
  const T* x;       // (batch, height, width, channels)
  const T* weight;  // (outputs, window_height, window_width, channels / groups)
  const T* bias;    // (outputs), or null
  T* y;             // (batch, out_height, out_width, outputs)  written
  ConvShape shape;
};
template <class T>
struct Conv2dDataGradient {
  const T* dy;      // (batch, out_height, out_width, outputs)
  const T* weight;  // (outputs, window_height, window_width, channels / groups)
  T* dx;            // (batch, height, width, channels)  written
  ConvShape shape;
};
template <class T>
struct Conv2dWeightGradient {
  const T* x;   // (batch, height, width, channels)
  const T* dy;  // (batch, out_height, out_width, outputs)
  T* dweight;   // (outputs, window_height, window_width, channels / groups)  written
  ConvShape shape;
};

namespace detail {

/// Element (o, dy, dx, c) of a window at base + o * output + dy * row + dx * column + c * channel.
template <class T>
struct WindowView {
  const T* base;
  int64_t output, row, column, channel;
};

/// A band of input rows with the padding around it, and how the windows lie in it.
template <class T>
struct BandLayout {
  int64_t channels, columns;                   // of a band row, padding included
  int64_t width, spread_height, spread_width;  // of the source; zeros between its pixels where spread > 1
  int64_t padding_height, padding_width;
  int64_t source_height;

  int64_t row_elements() const { return columns * channels; }

  /// Band row r holds padded source row first + r, for r in [0, rows).
  void fill(const T* source, int64_t first, int64_t rows, T* band) const {
    for (int64_t r = 0; r < rows; ++r) {
      T* to = band + r * row_elements();
      const int64_t spread = first + r - padding_height;
      if (spread < 0 || spread % spread_height != 0 || spread / spread_height >= source_height) {
        std::fill_n(to, row_elements(), T(0));
        continue;
      }
      const T* from = source + spread / spread_height * width * channels;
      if (spread_width == 1) {
        const int64_t begin = (std::max)(int64_t(0), padding_width), skip = (std::max)(int64_t(0), -padding_width);
        const int64_t count = (std::max)(int64_t(0), (std::min)(width - skip, columns - begin));
        std::fill_n(to, (std::min)(begin, columns) * channels, T(0));
        std::copy_n(from + skip * channels, count * channels, to + begin * channels);
        const int64_t end = (std::min)(columns, begin + count);
        std::fill_n(to + end * channels, (columns - end) * channels, T(0));
      } else {
        std::fill_n(to, row_elements(), T(0));
        for (int64_t w = 0; w < width; ++w) {
          const int64_t at = w * spread_width + padding_width;
          if (0 <= at && at < columns) std::copy_n(from + w * channels, channels, to + at * channels);
        }
      }
    }
  }
};

/// y = windows of x times weight, x padded and spread as `band` says.
template <class T>
struct WindowProduct {
  const T* x;
  WindowView<T> weight;
  const T* bias;
  T* y;  // (batch, out_height, out_width, groups * group_outputs)  written
  int64_t batch, source_pixels, groups, group_channels, group_outputs;
  int64_t window_height, window_width, dilation, stride_height, stride_width, out_height, out_width;
  BandLayout<T> band;
};

/// Offsets in a band at which the segments of a window start; returns their length. With one group and no dilation a
/// row of the window is one segment, else each of its pixels is.
inline int64_t window_segments(int64_t window_height, int64_t window_width, int64_t dilation, int64_t groups,
                               int64_t group_channels, int64_t pixel_step, int64_t row_step, int64_t* offsets,
                               int64_t* count) {
  const bool whole_rows = groups == 1 && (dilation == 1 || window_width == 1);
  *count = 0;
  for (int64_t i = 0; i < window_height; ++i)
    for (int64_t j = 0; j < (whole_rows ? 1 : window_width); ++j)
      offsets[(*count)++] = i * dilation * row_step + j * dilation * pixel_step;
  return whole_rows ? window_width * group_channels : group_channels;
}

template <class T>
void window_product(const WindowProduct<T>& p) {
  const int64_t window = p.window_height * p.window_width;
  const PackedPanels<T> panels{window * p.group_channels, p.group_outputs};
  Scratch<T> packed(panels.elements() * p.groups + 1);
  const int64_t per_row = p.window_width * p.group_channels;
  for (int64_t g = 0; g < p.groups; ++g) {
    const WindowView<T> w = p.weight;
    const T* base = w.base + g * p.group_outputs * w.output;
    panels.pack(packed.data() + g * panels.elements(), [&](int64_t k, int64_t o) {
      const int64_t i = k / per_row, j = k % per_row / p.group_channels, c = k % p.group_channels;
      return base[o * w.output + i * w.row + j * w.column + c * w.channel];
    });
  }

  Scratch<int64_t> offsets(window);
  int64_t segments = 0;
  const int64_t row = p.band.row_elements();
  const int64_t length = window_segments(p.window_height, p.window_width, p.dilation, p.groups, p.group_channels,
                                         p.band.channels, row, offsets.data(), &segments);
  const int64_t outputs = p.groups * p.group_outputs;
  const int64_t window_rows = p.dilation * (p.window_height - 1) + 1;
  // Bands of at most about 256 KB, so that they stay in the second-level cache, and enough of them for a few threads.
  const int64_t fits = (int64_t(1 << 18) / int64_t(sizeof(T)) / row - window_rows) / p.stride_height;
  const int64_t rows = (std::max)(int64_t(1), (std::min)(fits, (p.out_height * p.batch + 7) / 8));
  const int64_t bands = (p.out_height + rows - 1) / rows;
  parallel_for(p.batch * bands, 1, [&](int64_t begin, int64_t end) {
    const int64_t band_rows = (rows - 1) * p.stride_height + window_rows;
    const Scratch<T> band(band_rows * row);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t n = t / bands, first = t % bands * rows, count = (std::min)(rows, p.out_height - first);
      p.band.fill(p.x + n * p.source_pixels * p.band.channels, first * p.stride_height,
                  (count - 1) * p.stride_height + window_rows, band.data());
      for (int64_t h = 0; h < count; ++h)
        for (int64_t g = 0; g < p.groups; ++g) {
          const TileInput<T> in{band.data() + h * p.stride_height * row + g * p.group_channels,
                                p.stride_width * p.band.channels,
                                1,
                                offsets.data(),
                                segments,
                                length};
          panels.multiply(in, p.out_width, packed.data() + g * panels.elements(),
                          p.y + ((n * p.out_height + first + h) * p.out_width) * outputs + g * p.group_outputs, outputs,
                          p.bias == nullptr ? nullptr : p.bias + g * p.group_outputs, false);
        }
    }
  });
}

/// Sums `slots` arrays of `count` elements, slot by slot.
template <class T>
void add_slots(const T* parts, int64_t slots, int64_t count, T* sum) {
  parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
    std::copy(parts + begin, parts + end, sum + begin);
    for (int64_t s = 1; s < slots; ++s)
      for (int64_t i = begin; i < end; ++i) sum[i] += parts[s * count + i];
  });
}

/// Slots of a sum over rows: their number depends on the sizes alone, so that the order of the sum does too.
inline constexpr int64_t kSumSlots = 8;

}  // namespace detail

template <class T>
void conv2d_forward(const Conv2dForward<T>& p) {
  const ConvShape& s = p.shape;
  if (s.batch * s.out_height * s.out_width * s.outputs == 0) return;
  if (s.pointwise()) {
    gemm<T>({p.x, p.weight, p.bias, p.y, 1, s.batch * s.height * s.width, s.outputs, s.channels, 0, s.channels, 1, 0, 1,
             s.channels});
    return;
  }
  const int64_t group_channels = s.channels / s.groups;
  detail::window_product<T>({p.x,
                             {p.weight, s.window_height * s.window_width * group_channels,
                              s.window_width * group_channels, group_channels, 1},
                             p.bias,
                             p.y,
                             s.batch,
                             s.height * s.width,
                             s.groups,
                             group_channels,
                             s.outputs / s.groups,
                             s.window_height,
                             s.window_width,
                             s.dilation,
                             s.stride_height,
                             s.stride_width,
                             s.out_height,
                             s.out_width,
                             {s.channels, (s.out_width - 1) * s.stride_width + s.dilation * (s.window_width - 1) + 1,
                              s.width, 1, 1, s.padding_height, s.padding_width, s.height}});
}

template <class T>
void conv2d_data_gradient(const Conv2dDataGradient<T>& p) {
  const ConvShape& s = p.shape;
  if (s.batch * s.height * s.width * s.channels == 0) return;
  if (s.pointwise()) {
    gemm<T>({p.dy, p.weight, nullptr, p.dx, 1, s.batch * s.height * s.width, s.channels, s.outputs, 0, s.outputs, 1, 0,
             s.channels, 1});
    return;
  }
  const int64_t group_channels = s.channels / s.groups, window = s.window_height * s.window_width;
  // The window's last pixel first: element (c, i, j, o) is weight (o, kH - 1 - i, kW - 1 - j, c).
  detail::WindowView<T> mirrored{p.weight + (window - 1) * group_channels, 1, -s.window_width * group_channels,
                                 -group_channels, window * group_channels};
  const int64_t groups = s.groups, group_outputs = s.outputs / groups;
  // window_product steps from group to group by whole output rows of the view; here a group owns `group_outputs` rows
  // of the weight, so groups are taken one at a time on slices of dy and dx when there are several.
  const int64_t padding_height = s.dilation * (s.window_height - 1) - s.padding_height;
  const int64_t padding_width = s.dilation * (s.window_width - 1) - s.padding_width;
  const int64_t columns = s.width + s.dilation * (s.window_width - 1);
  if (groups == 1) {
    detail::window_product<T>({p.dy,
                               mirrored,
                               nullptr,
                               p.dx,
                               s.batch,
                               s.out_height * s.out_width,
                               1,
                               group_outputs,
                               group_channels,
                               s.window_height,
                               s.window_width,
                               s.dilation,
                               1,
                               1,
                               s.height,
                               s.width,
                               {s.outputs, columns, s.out_width, s.stride_height, s.stride_width, padding_height,
                                padding_width, s.out_height}});
    return;
  }
  Scratch<T> dy(s.batch * s.out_height * s.out_width * group_outputs + 1);
  Scratch<T> dx(s.batch * s.height * s.width * group_channels + 1);
  const int64_t out_pixels = s.batch * s.out_height * s.out_width, pixels = s.batch * s.height * s.width;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < out_pixels; ++i)
      std::copy_n(p.dy + i * s.outputs + g * group_outputs, group_outputs, dy.data() + i * group_outputs);
    detail::WindowView<T> view = mirrored;
    view.base += g * group_outputs * window * group_channels;
    detail::window_product<T>({dy.data(),
                               view,
                               nullptr,
                               dx.data(),
                               s.batch,
                               s.out_height * s.out_width,
                               1,
                               group_outputs,
                               group_channels,
                               s.window_height,
                               s.window_width,
                               s.dilation,
                               1,
                               1,
                               s.height,
                               s.width,
                               {group_outputs, columns, s.out_width, s.stride_height, s.stride_width, padding_height,
                                padding_width, s.out_height}});
    for (int64_t i = 0; i < pixels; ++i)
      std::copy_n(dx.data() + i * group_channels, group_channels, p.dx + i * s.channels + g * group_channels);
  }
}

namespace detail {

/// dw (n, k) = dy^T x over all pixels.
template <class T>
void pointwise_weight_gradient(const Conv2dWeightGradient<T>& p) {
  const ConvShape& s = p.shape;
  constexpr int64_t kChunk = 512;  // pixels; their x and dy stay in the second-level cache
  const int64_t pixels = s.batch * s.height * s.width, count = s.outputs * s.channels;
  const int64_t chunks = (pixels + kChunk - 1) / kChunk, slots = (std::min)(kSumSlots, chunks);
  const int64_t lane = kLanes<T>, zero = 0;
  Scratch<T> parts(slots * count);
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    // A vector read at the end of the last pixel reaches behind it: such pixels are copied to where that is allowed.
    const Scratch<T> edge(s.channels % lane == 0 ? 1 : kChunk * s.channels + 2 * lane);
    for (int64_t slot = begin; slot < end; ++slot) {
      T* dw = parts.data() + slot * count;
      std::fill_n(dw, count, T(0));
      for (int64_t c = chunks * slot / slots; c < chunks * (slot + 1) / slots; ++c) {
        const int64_t first = c * kChunk, length = (std::min)(kChunk, pixels - first);
        const T* x = p.x + first * s.channels;
        if (s.channels % lane != 0) {
          std::copy_n(x, length * s.channels, edge.data());
          std::fill_n(edge.data() + length * s.channels, 2 * lane, T(0));
          x = edge.data();
        }
        gemm_add_unpacked<T>({p.dy + first * s.outputs, 1, s.outputs, &zero, 1, length}, s.outputs, s.channels, x,
                             s.channels, dw, s.channels);
      }
    }
  });
  add_slots(parts.data(), slots, count, p.dweight);
}

}  // namespace detail

template <class T>
void conv2d_weight_gradient(const Conv2dWeightGradient<T>& p) {
  const ConvShape& s = p.shape;
  const int64_t group_channels = s.channels / s.groups, group_outputs = s.outputs / s.groups;
  const int64_t window = s.window_height * s.window_width, count = s.outputs * window * group_channels;
  if (count == 0) return;
  const int64_t total_rows = s.batch * s.out_height;
  if (total_rows * s.out_width == 0) {
    std::fill_n(p.dweight, count, T(0));
    return;
  }
  if (s.pointwise()) return detail::pointwise_weight_gradient(p);

  const detail::BandLayout<T> band{s.channels,
                                   (s.out_width - 1) * s.stride_width + s.dilation * (s.window_width - 1) + 1,
                                   s.width,
                                   1,
                                   1,
                                   s.padding_height,
                                   s.padding_width,
                                   s.height};
  const int64_t row = band.row_elements(), window_rows = s.dilation * (s.window_height - 1) + 1;
  Scratch<int64_t> offsets(window);
  int64_t segments = 0;
  const int64_t length = detail::window_segments(s.window_height, s.window_width, s.dilation, s.groups, group_channels,
                                                 s.channels, row, offsets.data(), &segments);
  const int64_t slots = (std::min)(detail::kSumSlots, total_rows), zero = 0;
  const int64_t fits = (int64_t(1 << 18) / int64_t(sizeof(T)) / row - window_rows) / s.stride_height;
  const int64_t rows = (std::max)(int64_t(1), fits);
  Scratch<T> parts(slots * count);
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    const int64_t elements = ((rows - 1) * s.stride_height + window_rows) * row;
    const Scratch<T> buffer(elements + 2 * kLanes<T>);
    std::fill_n(buffer.data() + elements, 2 * kLanes<T>, T(0));
    for (int64_t slot = begin; slot < end; ++slot) {
      T* dw = parts.data() + slot * count;
      std::fill_n(dw, count, T(0));
      for (int64_t at = total_rows * slot / slots, last = total_rows * (slot + 1) / slots; at < last;) {
        const int64_t n = at / s.out_height, h = at % s.out_height;
        const int64_t taken = (std::min)({rows, s.out_height - h, last - at});
        band.fill(p.x + n * s.height * s.width * s.channels, h * s.stride_height,
                  (taken - 1) * s.stride_height + window_rows, buffer.data());
        for (int64_t r = 0; r < taken; ++r) {
          const T* dy = p.dy + (at + r) * s.out_width * s.outputs;
          for (int64_t g = 0; g < s.groups; ++g)
            for (int64_t k = 0; k < segments; ++k)
              detail::gemm_add_unpacked<T>(
                  {dy + g * group_outputs, 1, s.outputs, &zero, 1, s.out_width}, group_outputs, length,
                  buffer.data() + r * s.stride_height * row + offsets[k] + g * group_channels,
                  s.stride_width * s.channels, dw + g * group_outputs * window * group_channels + k * length,
                  window * group_channels);
        }
        at += taken;
      }
    }
  });
  detail::add_slots(parts.data(), slots, count, p.dweight);
}

}  // namespace clearsky::cpu
