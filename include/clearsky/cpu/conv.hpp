#pragma once
// Convolution of channels-last images: forward, data gradient and weight gradient, for any window, stride, dilation and
// groups. Depthwise windows have kernels of their own (conv_depthwise.hpp); 1x1 windows are matrix products.
//
// The others are matrix products on windows that are never copied out (no im2col): a band of input rows lies in scratch
// memory with zeros around it, and a row of a window is a run of kW * C elements in it, so that the tile of gemm.hpp
// reads it directly, one "segment" per row of the window. Neighbouring output pixels are neighbouring rows of A,
// `stride * C` apart.
//
// The data gradient is the same product on dy. With a stride s an input pixel meets only those taps that reach it from
// a whole output position; which ones depends on its position modulo s, so each of the s x s phases is a product of its
// own, with the taps of that phase and without multiplications by zero.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cpu/winograd.hpp"

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

/// The most partial sums that a weight gradient is made of.
inline constexpr int64_t kSumSlots = 16;

/// Partial sums of a weight gradient whose images are `ratio` times as large as the weight: each costs its memory once
/// more. A power of two, of which 2, 4 and 8 threads have the same number each.
inline int64_t sum_slots(int64_t ratio) {
  int64_t slots = 2;
  while (slots < kSumSlots && 2 * ratio >= 3 * slots) slots *= 2;
  return slots;
}

/// One tap of a window along one axis: output i reads source i * source_step + offset.
struct AxisTap {
  int64_t offset;
  int64_t index;  // in the weight
};

/// One axis of a window product: output i of `count` is pixel first + i * step of the result.
struct WindowAxis {
  int64_t count, first, step, source_step, source_size;
  Workspace<AxisTap> taps;  // by rising offset; may be empty

  int64_t lowest() const { return taps.empty() ? 0 : taps.front().offset; }
  int64_t highest() const { return taps.empty() ? 0 : taps.back().offset; }
  /// Source pixels that `outputs` neighbouring windows cover.
  int64_t cover(int64_t outputs) const { return (outputs - 1) * source_step + highest() - lowest() + 1; }
  bool inside() const { return lowest() >= 0 && (count - 1) * source_step + highest() < source_size; }
  /// True when the taps read neighbouring source pixels.
  bool dense() const { return taps.empty() || highest() - lowest() + 1 == int64_t(taps.size()); }
};

inline WindowAxis forward_axis(int64_t size, int64_t window, int64_t stride, int64_t padding, int64_t dilation,
                               int64_t outputs) {
  WindowAxis axis{outputs, 0, 1, stride, size, {}};
  axis.taps.reserve(size_t(window));
  for (int64_t k = 0; k < window; ++k) axis.taps.push_back({k * dilation - padding, k});
  return axis;
}

/// The pixels of the image at `phase` modulo stride: image pixel h meets tap k of output (h + padding - k dilation) /
/// stride where that is whole.
inline WindowAxis gradient_axis(int64_t size, int64_t window, int64_t stride, int64_t padding, int64_t dilation,
                                int64_t outputs, int64_t phase) {
  WindowAxis axis{(size - phase + stride - 1) / stride, phase, stride, 1, outputs, {}};
  axis.taps.reserve(size_t(window));
  for (int64_t k = window; k-- > 0;) {
    const int64_t reach = phase + padding - k * dilation;
    if (reach % stride == 0) axis.taps.push_back({reach / stride, k});
  }
  return axis;
}

/// y = windows of x times weight.
template <class T>
struct WindowProduct {
  const T* x;                              // (batch, rows.source_size, columns.source_size, groups * inputs)
  int64_t batch, groups, inputs, outputs;  // inputs and outputs per group
  const T* weight;                         // element (group, output, tap i, tap j, input) at the sum of index * step
  int64_t group_step, output_step, row_step, column_step, input_step;
  const T* bias;  // (groups * outputs), or null
  T* y;           // (batch, height, width, groups * outputs)  written where the axes say
  int64_t height, width;
};

/// Copies source rows [first, first + count) and columns [left, left + columns) to `band`, zeros outside the source.
template <class T>
void fill_band(const T* source, int64_t height, int64_t width, int64_t channels, int64_t first, int64_t count,
               int64_t left, int64_t columns, T* band) {
  const int64_t begin = std::clamp(-left, int64_t(0), columns);
  const int64_t end = std::clamp(width - left, begin, columns);
  for (int64_t r = 0; r < count; ++r, band += columns * channels) {
    const int64_t row = first + r;
    if (row < 0 || row >= height) {
      std::fill_n(band, columns * channels, T(0));
      continue;
    }
    std::fill_n(band, begin * channels, T(0));
    std::copy_n(source + (row * width + left + begin) * channels, (end - begin) * channels, band + begin * channels);
    std::fill_n(band + end * channels, (columns - end) * channels, T(0));
  }
}

/// The same in pairs along the channels of a group: (pixel, group, pair_count(inputs)) words, and some behind the band
/// are written.
inline void fill_band(const float* source, int64_t height, int64_t width, int64_t groups, int64_t inputs, int64_t first,
                      int64_t count, int64_t left, int64_t columns, Pair* band) {
  const int64_t begin = std::clamp(-left, int64_t(0), columns);
  const int64_t end = std::clamp(width - left, begin, columns);
  const int64_t words = pair_count(inputs), pixel = groups * words;
  for (int64_t r = 0; r < count; ++r, band += columns * pixel) {
    const int64_t row = first + r;
    if (row < 0 || row >= height) {
      std::fill_n(band, columns * pixel, Pair(0));
      continue;
    }
    std::fill_n(band, begin * pixel, Pair(0));
    const float* from = source + (row * width + left + begin) * groups * inputs;
    if (inputs % 2 == 0) {
      pair_row(from, (end - begin) * groups * inputs, band + begin * pixel);
    } else {
      // Each writes whole vectors, which the next one goes over.
      for (int64_t i = 0; i < (end - begin) * groups; ++i)
        pair_row(from + i * inputs, inputs, band + begin * pixel + i * words);
    }
    std::fill_n(band + end * pixel, (columns - end) * pixel, Pair(0));
  }
}

/// Rows of results per band: its source rows stay in the second-level cache, and there are enough bands for threads.
inline int64_t band_rows(const WindowAxis& rows, int64_t source_row_bytes, int64_t batch) {
  constexpr int64_t kBytes = 192 << 10, kEnoughBands = 16;
  const int64_t fits = (kBytes / (source_row_bytes + 1) - rows.cover(1)) / rows.source_step + 1;
  const int64_t most = (rows.count * batch + kEnoughBands - 1) / kEnoughBands;
  const int64_t wanted = std::clamp((std::min)(fits, most), int64_t(1), rows.count);
  const int64_t bands = (rows.count + wanted - 1) / wanted;
  return (rows.count + bands - 1) / bands;  // all of about one size
}

/// The weight as panels for the taps of the two axes: (groups, panels, taps, inputs, panel width), inputs in pairs
/// where Factor is one.
template <class T, class Factor>
void pack_window(const WindowProduct<T>& p, const WindowAxis& rows, const WindowAxis& columns, T* to) {
  const int64_t panels = panel_count<T>(p.outputs);
  const int64_t depth = int64_t(rows.taps.size() * columns.taps.size()) * p.inputs;
  constexpr bool kPairs = !std::is_same_v<T, Factor>;
  parallel_for(p.groups * panels, panels_per_block<T>(depth), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i % panels;
      const int64_t steps = kPairs ? pair_count(p.inputs) : p.inputs;
      const int64_t tap_elements = steps * panel_width<T>(p.outputs - panel * kTileColumns<T>);
      T* out = to + i * depth * kTileColumns<T>;
      for (const AxisTap& row : rows.taps)
        for (const AxisTap& column : columns.taps) {
          pack_factors(kPairs,
                       p.weight + i / panels * p.group_step + row.index * p.row_step + column.index * p.column_step,
                       p.input_step, p.output_step, p.inputs, p.outputs, panel, out);
          out += tap_elements;
        }
    }
  });
}

template <class T, class Factor>
void window_product_of(const WindowProduct<T>& p, const WindowAxis& rows, const WindowAxis& columns) {
  if (p.batch * rows.count * columns.count * p.groups * p.outputs == 0) return;
  const int64_t taps = int64_t(rows.taps.size() * columns.taps.size());
  const int64_t panels = panel_count<T>(p.outputs), depth = taps * p.inputs;
  const Scratch<T> packed(p.groups * panels * depth * kTileColumns<T> + 1);
  pack_window<T, Factor>(p, rows, columns, packed.data());

  constexpr bool kPairs = !std::is_same_v<T, Factor>;
  const int64_t inputs = kPairs ? pair_count(p.inputs) : p.inputs;  // steps of the sum
  const int64_t channels = p.groups * inputs, total_outputs = p.groups * p.outputs;
  const bool copied = kPairs || !rows.inside() || !columns.inside();
  const int64_t covered = columns.cover(columns.count);
  const int64_t pitch = (copied ? covered : columns.source_size) * channels;
  // One segment per row of the window where the taps of a row lie side by side, else one per tap.
  const bool whole_rows = p.groups == 1 && columns.dense();
  Workspace<int64_t> offsets;
  for (const AxisTap& row : rows.taps)
    for (size_t j = 0; j < (whole_rows ? 1 : columns.taps.size()); ++j)
      offsets.push_back((row.offset - rows.lowest()) * pitch +
                        (whole_rows ? 0 : (columns.taps[j].offset - columns.lowest()) * channels));

  const int64_t per_band = band_rows(rows, pitch * int64_t(sizeof(T)), p.batch);
  const int64_t bands = (rows.count + per_band - 1) / per_band;
  parallel_for(p.batch * bands, 1, [&](int64_t begin, int64_t end) {
    const Scratch<Factor> band(copied ? rows.cover(per_band) * pitch + kLanes<Factor> : 1);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t n = unit / bands, first = unit % bands * per_band;
      const int64_t count = (std::min)(per_band, rows.count - first);
      const int64_t top = first * rows.source_step + rows.lowest();
      const T* image = p.x + n * rows.source_size * columns.source_size * p.groups * p.inputs;
      const Factor* source = band.data();
      if constexpr (kPairs) {
        if (taps > 0)
          fill_band(image, rows.source_size, columns.source_size, p.groups, p.inputs, top, rows.cover(count),
                    columns.lowest(), covered, band.data());
      } else {
        if (copied && taps > 0)
          fill_band(image, rows.source_size, columns.source_size, channels, top, rows.cover(count), columns.lowest(),
                    covered, band.data());
        if (!copied) source = image + top * pitch + columns.lowest() * channels;
      }

      Tile<T, Factor> t{};
      t.a_row = columns.source_step * channels;
      t.a_step = 1;
      t.length = whole_rows ? int64_t(columns.taps.size()) * inputs : inputs;
      t.segments = int64_t(offsets.size());
      t.a_offsets = offsets.data();
      t.c_row = columns.step * total_outputs;
      t.fetch_c = true;
      for (int64_t g = 0; g < p.groups; ++g)
        for (int64_t i = 0; i < panels; ++i) {
          const int64_t o = g * p.outputs + i * kTileColumns<T>;
          t.columns = (std::min)(kTileColumns<T>, p.outputs - i * kTileColumns<T>);
          t.b = reinterpret_cast<const Factor*>(packed.data() + (g * panels + i) * depth * kTileColumns<T>);
          t.b_step = panel_width<T>(t.columns);
          t.b_segment = t.length * t.b_step;
          t.bias = p.bias == nullptr ? nullptr : p.bias + o;
          for (int64_t h = 0; h < count; ++h) {
            t.a = source + h * rows.source_step * pitch + g * inputs;
            const int64_t row = n * p.height + rows.first + (first + h) * rows.step;
            t.c = p.y + (row * p.width + columns.first) * total_outputs + o;
            run_tiles(t, columns.count);
          }
        }
    }
  });
}

template <class T>
void window_product(const WindowProduct<T>& p, const WindowAxis& rows, const WindowAxis& columns) {
  if constexpr (std::is_same_v<T, float>)
    if (takes_pairs<T>()) return window_product_of<T, Pair>(p, rows, columns);
  window_product_of<T, T>(p, rows, columns);
}

/// Whether F(4x4, 3x3) is the faster way: enough channels for its products, and enough pixels for the transforms of the
/// weights. In float, it is also faster than the direct sum in bfloat16, and is taken in its place. Whether it is
/// accurate enough depends on the values: winograd_product decides that, also tile by tile.
inline bool takes_winograd(const ConvShape& s, int64_t inputs, int64_t outputs) {
  constexpr int64_t kLeastInputs = 24, kLeastOutputs = 16, kLeastPixels = 256;
  return s.window_height == 3 && s.window_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
         s.dilation == 1 && s.groups == 1 && s.padding_height <= 2 && s.padding_width <= 2 && inputs >= kLeastInputs &&
         outputs >= kLeastOutputs && s.batch * s.out_height * s.out_width >= kLeastPixels;
}

/// @return false where the direct sum is to be taken: always in double, the reference
template <class T>
bool winograd_forward(const Conv2dForward<T>& p) {
  if constexpr (std::is_same_v<T, float>) {
    const ConvShape& s = p.shape;
    if (!takes_winograd(s, s.channels, s.outputs)) return false;
    WinogradProduct<T> w{};
    w.x = p.x, w.batch = s.batch, w.height = s.height, w.width = s.width, w.inputs = s.channels;
    w.y = p.y, w.out_height = s.out_height, w.out_width = s.out_width, w.outputs = s.outputs;
    w.weight = p.weight, w.bias = p.bias;
    w.output_step = 9 * s.channels, w.row_step = 3 * s.channels, w.column_step = s.channels, w.input_step = 1;
    w.padding_top = s.padding_height, w.padding_left = s.padding_width;
    return winograd_product(w);
  }
  return false;
}

/// The same for dx, the product of dy with the mirrored taps.
template <class T>
bool winograd_data_gradient(const Conv2dDataGradient<T>& p) {
  if constexpr (std::is_same_v<T, float>) {
    const ConvShape& s = p.shape;
    if (!takes_winograd(s, s.outputs, s.channels)) return false;
    WinogradProduct<T> w{};
    w.x = p.dy, w.batch = s.batch, w.height = s.out_height, w.width = s.out_width, w.inputs = s.outputs;
    w.y = p.dx, w.out_height = s.height, w.out_width = s.width, w.outputs = s.channels;
    w.weight = p.weight, w.mirrored = true;
    w.output_step = 1, w.row_step = 3 * s.channels, w.column_step = s.channels, w.input_step = 9 * s.channels;
    w.padding_top = 2 - s.padding_height, w.padding_left = 2 - s.padding_width;
    return winograd_product(w);
  }
  return false;
}

}  // namespace detail

template <class T>
void conv2d_forward(const Conv2dForward<T>& p) {
  const ConvShape& s = p.shape;
  if (s.batch * s.out_height * s.out_width * s.outputs == 0) return;
  if (s.pointwise())
    return gemm<T>({p.x, p.weight, p.bias, p.y, 1, s.batch * s.height * s.width, s.outputs, s.channels, 0, s.channels,
                    1, 0, 1, s.channels});
  const int64_t inputs = s.channels / s.groups, outputs = s.outputs / s.groups;
  const int64_t window_row = s.window_width * inputs, window = s.window_height * window_row;
  if (detail::winograd_forward(p)) return;
  detail::window_product<T>(
      {p.x, s.batch, s.groups, inputs, outputs, p.weight, outputs * window, window, window_row, inputs, 1, p.bias, p.y,
       s.out_height, s.out_width},
      detail::forward_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height),
      detail::forward_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width));
}
CLEARSKY_COMPILE_ONCE(conv2d_forward)

template <class T>
void conv2d_data_gradient(const Conv2dDataGradient<T>& p) {
  const ConvShape& s = p.shape;
  if (s.batch * s.height * s.width * s.channels == 0) return;
  if (s.pointwise())
    return gemm<T>({p.dy, p.weight, nullptr, p.dx, 1, s.batch * s.height * s.width, s.channels, s.outputs, 0, s.outputs,
                    1, 0, s.channels, 1});
  const int64_t inputs = s.channels / s.groups, outputs = s.outputs / s.groups;
  const int64_t window_row = s.window_width * inputs, window = s.window_height * window_row;
  if (detail::winograd_data_gradient(p)) return;
  for (int64_t i = 0; i < (std::min)(s.stride_height, s.height); ++i)
    for (int64_t j = 0; j < (std::min)(s.stride_width, s.width); ++j)
      detail::window_product<T>(
          {p.dy, s.batch, s.groups, outputs, inputs, p.weight, outputs * window, 1, window_row, inputs, window, nullptr,
           p.dx, s.height, s.width},
          detail::gradient_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height,
                                i),
          detail::gradient_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width, j));
}
CLEARSKY_COMPILE_ONCE(conv2d_data_gradient)

namespace detail {

/// The weight gradient's partial sums of some bands. Rows of the tile are output channels and its columns run along a
/// row of the window, or the other way round, whichever leaves fewer lanes idle.
template <class T>
struct WeightSum {
  const Conv2dWeightGradient<T>* p;
  WindowAxis rows, columns;
  bool whole_rows;  // columns run along all taps of a window row, else along one tap
  bool turned;      // rows of the tile are (tap, input), its columns outputs
  int64_t inputs, outputs, length, pitch, covered;

  explicit WeightSum(const Conv2dWeightGradient<T>& params) : p(&params) {
    const ConvShape& s = params.shape;
    rows = forward_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height);
    columns = forward_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width);
    inputs = s.channels / s.groups;
    outputs = s.outputs / s.groups;
    whole_rows = s.groups == 1 && columns.dense();
    length = whole_rows ? s.window_width * inputs : inputs;
    covered = columns.cover(columns.count);
    pitch = covered * s.channels;
    const auto vectors = [](int64_t n) { return (n + kLanes<T> - 1) / kLanes<T>; };
    turned = length * vectors(outputs) < outputs * vectors(length);
  }

  /// Whole vectors are read from dy when it gives the columns; what lies behind its last element must exist.
  bool copies_dy() const { return turned && outputs % kLanes<T> != 0; }
  int64_t band_elements(int64_t count) const { return rows.cover(count) * pitch + kTileColumns<T>; }
  int64_t dy_elements(int64_t count) const {
    return copies_dy() ? count * p->shape.out_width * p->shape.outputs + kTileColumns<T> : 1;
  }

  /// Adds rows [first, first + count) of image n to `sum` (or writes it): (groups, segment, outputs, length), or
  /// (groups, segment, length, outputs) when turned.
  void add(int64_t n, int64_t first, int64_t count, T* band, T* dy_copy, int64_t* offsets, bool adds, T* sum) const {
    const ConvShape& s = p->shape;
    fill_band(p->x + n * s.height * s.width * s.channels, s.height, s.width, s.channels,
              first * s.stride_height + rows.lowest(), rows.cover(count), columns.lowest(), covered, band);
    const int64_t dy_row = s.out_width * s.outputs;
    const T* dy = p->dy + (n * s.out_height + first) * dy_row;
    if (copies_dy()) dy = std::copy_n(dy, count * dy_row, dy_copy) - count * dy_row;
    const int64_t band_step = s.stride_height * pitch, pixel = s.stride_width * s.channels;
    for (int64_t h = 0; h < count; ++h) offsets[h] = h * (turned ? band_step : dy_row);

    const int64_t segments = s.window_height * (whole_rows ? 1 : s.window_width);
    Tile<T> t{};
    t.length = s.out_width;
    t.segments = count;
    t.a_offsets = offsets;
    t.add = adds;
    t.a_row = 1;
    t.a_step = turned ? pixel : s.outputs;
    t.b_step = turned ? s.outputs : pixel;
    t.b_segment = turned ? dy_row : band_step;
    t.c_row = turned ? outputs : length;
    for (int64_t g = 0; g < s.groups; ++g)
      for (int64_t k = 0; k < segments; ++k) {
        const T* x = band + g * inputs;
        x += whole_rows ? k * s.dilation * pitch
                        : (k / s.window_width * pitch + k % s.window_width * s.channels) * s.dilation;
        const T* gradient = dy + g * outputs;
        T* to = sum + (g * segments + k) * outputs * length;
        const int64_t total = turned ? outputs : length;
        t.a = turned ? x : gradient;
        for (int64_t c = 0; c < total; c += kTileColumns<T>) {
          t.b = (turned ? gradient : x) + c;
          t.c = to + c;
          t.columns = (std::min)(kTileColumns<T>, total - c);
          run_tiles(t, turned ? length : outputs);
        }
      }
  }

  /// Sums the slots in their order, and puts them in the order of the weight.
  void finish(const T* parts, int64_t slots) const {
    const ConvShape& s = p->shape;
    const int64_t segments = s.window_height * (whole_rows ? 1 : s.window_width);
    const int64_t size = s.groups * segments * outputs * length;
    const Scratch<T> total(size);
    add_slots(parts, slots, size, total.data());
    constexpr int64_t kLeastElements = 16384;
    parallel_for(s.groups * outputs, kLeastElements / (segments * length) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at)
        for (int64_t k = 0; k < segments; ++k) {
          const int64_t g = at / outputs, o = at % outputs;
          const T* from = total.data() + (g * segments + k) * outputs * length + o * (turned ? 1 : length);
          T* to = p->dweight + (at * segments + k) * length;
          for (int64_t i = 0; i < length; ++i) to[i] = from[i * (turned ? outputs : 1)];
        }
    });
  }
};

}  // namespace detail

template <class T>
void conv2d_weight_gradient(const Conv2dWeightGradient<T>& p) {
  const ConvShape& s = p.shape;
  const int64_t size = s.outputs * s.window_height * s.window_width * (s.channels / s.groups);
  const int64_t pixels = s.batch * s.out_height * s.out_width;
  if (size == 0) return;
  if (pixels == 0) {
    std::fill_n(p.dweight, size, T(0));
    return;
  }
  if (s.pointwise())
    return gemm<T>(
        {p.dy, p.x, nullptr, p.dweight, 1, s.outputs, s.channels, pixels, 0, 1, s.outputs, 0, s.channels, 1});

  const detail::WeightSum<T> sum(p);
  const int64_t per_band =
      detail::band_rows(sum.rows, (sum.pitch + s.out_width * s.outputs) * int64_t(sizeof(T)), s.batch);
  const int64_t bands = (s.out_height + per_band - 1) / per_band, units = s.batch * bands;
  const int64_t slots = (std::min)(units, detail::sum_slots(pixels * (s.channels + s.outputs) / size));
  const Scratch<T> parts(slots * size);
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> band(sum.band_elements(per_band)), dy(sum.dy_elements(per_band));
    const Scratch<int64_t> offsets(per_band);
    for (int64_t slot = begin; slot < end; ++slot)
      for (int64_t first = units * slot / slots, unit = first; unit < units * (slot + 1) / slots; ++unit) {
        const int64_t h = unit % bands * per_band;
        sum.add(unit / bands, h, (std::min)(per_band, s.out_height - h), band.data(), dy.data(), offsets.data(),
                unit != first, parts.data() + slot * size);
      }
  });
  sum.finish(parts.data(), slots);
}
CLEARSKY_COMPILE_ONCE(conv2d_weight_gradient)

}  // namespace clearsky::cpu
