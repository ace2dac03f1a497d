#pragma once
// Prompt-guided fusion from the projected features on, in one pass: the prompt's resizing, the depthwise convolution,
// the gate and the mix.
//
//     s = A + resize(Q)                 A per pixel; Q the prompt map at its own size, bilinear
//     b = DW3x3(s) + bias               over zeros outside the image
//     G = sigmoid(context + b)          context per image and channel
//     y = O + G (S - O)  (replace)   or   O + G S  (inject)

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/cpu/resize.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

struct PromptFusionSizes {
  int64_t batch, height, width, channels;
  int64_t prompt_height, prompt_width;
};

template <class T>
struct PromptFusionForward {
  const T* optical;    // (batch, height, width, channels)                O
  const T* sar;        // (batch, height, width, channels)                S
  const T* projected;  // (batch, height, width, channels)                A
  const T* prompt;     // (batch, prompt_height, prompt_width, channels)  Q; or null for zeros
  const T* context;    // (batch, channels)
  const T* weight;     // (channels, 3, 3)
  const T* bias;       // (channels)
  T* y;                // (batch, height, width, channels)  written
  T* reliance;         // (batch, height, width)            written: mean of G over the channels; or null
  PromptFusionSizes s;
  bool replace;
};

///     h = dy (S - O) G (1 - G)  (replace)   or   dy S G (1 - G)  (inject)
///     doptical = dy (1 - G)  or  dy,   dsar = dy G,   dcontext = sum over an image's pixels of h,   dbias = sum of h
///     dweight[i, j] = sum of h[p] s[p + (i - 1, j - 1)]
///     dprojected[p] = sum over i, j of weight[i, j] h[p - (i - 1, j - 1)],   dprompt = resize^T(dprojected)
template <class T>
struct PromptFusionBackward {
  const T* optical;
  const T* sar;
  const T* projected;
  const T* prompt;
  const T* context;
  const T* weight;
  const T* bias;
  const T* dy;    // (batch, height, width, channels)
  T* doptical;    // each of the shape of what it is for, written, or null
  T* dsar;        //
  T* dprojected;  //
  T* dprompt;     // null without a prompt
  T* dcontext;    //
  T* dweight;     //
  T* dbias;       //
  PromptFusionSizes s;
  bool replace;
};

namespace detail {

/// Three neighbouring rows of s, with zeros around them, and the gate from them. Made for rows in ascending order.
template <class T>
class PromptGate {
 public:
  static constexpr int64_t kLane = kLanes<T>;

  /// @param p  a forward or backward struct
  template <class P>
  explicit PromptGate(const P& p)
      : projected_(p.projected),
        prompt_(p.prompt),
        s_(p.s),
        padded_((s_.channels + kLane - 1) / kLane * kLane),
        step_((s_.width + 2) * s_.channels + kLane),
        rows_(resize_axis<T>((std::max)(int64_t(1), s_.prompt_height), s_.height, Interpolation::bilinear)),
        columns_(resize_axis<T>((std::max)(int64_t(1), s_.prompt_width), s_.width, Interpolation::bilinear)),
        taps_(10 * padded_) {
    for (int64_t c = 0; c < padded_; ++c)
      for (int64_t k = 0; k < 10; ++k)
        taps_[k * padded_ + c] = c >= s_.channels ? T(0) : k == 9 ? p.bias[c] : p.weight[c * 9 + k];
  }

  /// What one thread needs beside this.
  struct Rows {
    explicit Rows(const PromptGate& gate)
        : prompt(gate.s_.prompt_width * gate.s_.channels + kLane), three(3 * gate.step_) {
      std::fill_n(three.data(), 3 * gate.step_, T(0));
      std::fill_n(prompt.data(), gate.s_.prompt_width * gate.s_.channels + kLane, T(0));
    }
    Scratch<T> prompt, three;
    int64_t image = -1, next = 0;  // rows below `next` of this image have been made
  };

  /// Makes rows h - 1, h and h + 1 of image n.
  void advance(Rows& rows, int64_t n, int64_t h) const {
    if (rows.image != n || rows.next < h) {
      rows.image = n;
      rows.next = h - 1;
    }
    for (; rows.next <= h + 1; ++rows.next) make(rows, n, rows.next);
  }

  /// s at row h - 1 + i, pixel w - 1 + j, channels from c on; a whole vector may be read.
  const T* at(const Rows& rows, int64_t h, int64_t w, int64_t i, int64_t j, int64_t c) const {
    return rows.three.data() + (h + i) % 3 * step_ + (w + j) * s_.channels + c;
  }

  Vec<T> gate(const Rows& rows, const T* context, int64_t h, int64_t w, int64_t c) const {
    Vec<T> b = load(taps_.data() + 9 * padded_ + c);
    for (int64_t i = 0; i < 3; ++i) {
      const T* s = at(rows, h, w, i, 0, c);
      for (int64_t j = 0; j < 3; ++j) b += load(taps_.data() + (3 * i + j) * padded_ + c) * load(s + j * s_.channels);
    }
    return vec_sigmoid<T>(load_partial(context + c, s_.channels - c) + b);
  }

  int64_t padded() const { return padded_; }

 private:
  /// Row r of s, where it is inside the image; else zeros. Row r lies at (r + 1) % 3.
  void make(Rows& rows, int64_t n, int64_t r) const {
    T* out = rows.three.data() + (r + 1) % 3 * step_ + s_.channels;
    const int64_t size = s_.width * s_.channels;
    if (r < 0 || r >= s_.height) {
      std::fill_n(out, size, T(0));
      return;
    }
    const T* projected = projected_ + (n * s_.height + r) * size;
    if (prompt_ == nullptr) {
      std::copy_n(projected, size, out);
      return;
    }
    if (s_.prompt_height == s_.height && s_.prompt_width == s_.width) {
      const T* prompt = prompt_ + (n * s_.height + r) * size;
      for (int64_t i = 0; i < size; i += kLane)
        store_partial(out + i, Vec<T>(load_partial(projected + i, size - i) + load_partial(prompt + i, size - i)),
                      size - i);
      return;
    }
    const int64_t prompt_size = s_.prompt_width * s_.channels, first = rows_.first[size_t(r)];
    const T* image = prompt_ + n * s_.prompt_height * prompt_size;
    for (int64_t i = 0; i < prompt_size; i += kLane)
      weighted_sum_rest(image + i, prompt_size, rows_.source.data() + first, rows_.weight.data() + first,
                        rows_.first[size_t(r) + 1] - first, rows.prompt.data() + i, (std::min)(kLane, prompt_size - i));
    for (int64_t w = 0; w < s_.width; ++w) {
      const int64_t from = columns_.first[size_t(w)], count = columns_.first[size_t(w) + 1] - from;
      for (int64_t c = 0; c < s_.channels; c += kLane) {
        const int64_t left = s_.channels - c, to = w * s_.channels + c;
        Vec<T> sum = load_partial(projected + to, left);
        for (int64_t k = from; k < from + count; ++k)
          sum += columns_.weight[size_t(k)] * load(rows.prompt.data() + columns_.source[size_t(k)] * s_.channels + c);
        store_partial(out + to, sum, left);
      }
    }
  }

  const T *projected_, *prompt_;
  PromptFusionSizes s_;
  int64_t padded_, step_;
  AxisMap<T> rows_, columns_;
  Scratch<T> taps_;  // (10, padded): the window by rows, then the bias
};

}  // namespace detail

template <class T>
void prompt_fusion_forward(const PromptFusionForward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const PromptFusionSizes& s = p.s;
  const int64_t row = s.width * s.channels;
  if (s.batch * s.height * row == 0) return;
  const detail::PromptGate<T> gates(p);
  // A piece of rows makes two rows of s more than it has.
  parallel_for(s.batch * s.height, (std::max)(int64_t(8), 16384 / row), [&](int64_t begin, int64_t end) {
    typename detail::PromptGate<T>::Rows rows(gates);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t n = r / s.height, h = r % s.height;
      gates.advance(rows, n, h);
      for (int64_t w = 0; w < s.width; ++w) {
        Vec<T> total{};
        for (int64_t c = 0; c < s.channels; c += kLane) {
          const int64_t left = s.channels - c, at = r * row + w * s.channels + c;
          const Vec<T> gate = gates.gate(rows, p.context + n * s.channels, h, w, c);
          const Vec<T> o = load_partial(p.optical + at, left), v = load_partial(p.sar + at, left);
          store_partial(p.y + at, Vec<T>(o + gate * (p.replace ? v - o : v)), left);
          T lanes[kLane] = {};  // lanes behind the last channel hold some gate, not 0
          store_partial(lanes, gate, left);
          total += load(lanes);
        }
        if (p.reliance != nullptr) p.reliance[r * s.width + w] = sum_lanes<T>(total) / T(s.channels);
      }
    }
  });
}
CLEARSKY_COMPILE_ONCE(prompt_fusion_forward)

/// s and h are kept for the convolution's gradients, which have kernels of their own.
template <class T>
void prompt_fusion_backward(const PromptFusionBackward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const PromptFusionSizes& s = p.s;
  const int64_t channels = s.channels, row = s.width * channels, numel = s.batch * s.height * row;
  if (channels == 0) return;
  const detail::PromptGate<T> gates(p);
  const int64_t padded = gates.padded();
  const bool wants_spread = p.dprojected != nullptr || p.dprompt != nullptr;
  const Scratch<T> slopes(wants_spread || p.dweight != nullptr ? numel : 0), map(p.dweight != nullptr ? numel : 0);
  const int64_t slots = (std::min)(int64_t(16), s.height / 8 + 1);  // of each image
  const Scratch<T> parts(s.batch * slots * padded);
  parallel_for(s.batch * slots, 1, [&](int64_t begin, int64_t end) {
    typename detail::PromptGate<T>::Rows rows(gates);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t n = t / slots, slot = t % slots;
      T* part = parts.data() + t * padded;
      std::fill_n(part, padded, T(0));
      for (int64_t h = s.height * slot / slots; h < s.height * (slot + 1) / slots; ++h) {
        gates.advance(rows, n, h);
        const int64_t start = (n * s.height + h) * row;
        if (p.dweight != nullptr) std::copy_n(gates.at(rows, h, 0, 1, 1, 0), row, map.data() + start);
        for (int64_t w = 0; w < s.width; ++w)
          for (int64_t c = 0; c < channels; c += kLane) {
            const int64_t left = channels - c, at = start + w * channels + c;
            const Vec<T> gate = gates.gate(rows, p.context + n * channels, h, w, c);
            const Vec<T> o = load_partial(p.optical + at, left), v = load_partial(p.sar + at, left);
            const Vec<T> g = load_partial(p.dy + at, left);
            const Vec<T> slope = g * (p.replace ? v - o : v) * (gate * (T(1) - gate));
            if (p.doptical != nullptr) store_partial(p.doptical + at, p.replace ? g * (T(1) - gate) : g, left);
            if (p.dsar != nullptr) store_partial(p.dsar + at, Vec<T>(g * gate), left);
            if (wants_spread || p.dweight != nullptr) store_partial(slopes.data() + at, slope, left);
            store(part + c, Vec<T>(load(part + c) + slope));
          }
      }
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    T all = 0;
    for (int64_t n = 0; n < s.batch; ++n) {
      T sum = 0;
      for (int64_t t = n * slots; t < (n + 1) * slots; ++t) sum += parts[t * padded + c];
      if (p.dcontext != nullptr) p.dcontext[n * channels + c] = sum;
      all += sum;
    }
    if (p.dbias != nullptr) p.dbias[c] = all;
  }

  const ConvShape conv{s.batch,  s.height, s.width, channels, channels, 3, 3, channels,
                       s.height, s.width,  1,       1,        1,        1, 1};
  if (p.dweight != nullptr)
    conv2d_depthwise_weight_gradient(Conv2dWeightGradient<T>{map.data(), slopes.data(), p.dweight, conv});
  if (!wants_spread) return;
  const Scratch<T> own(p.dprojected == nullptr ? numel : 0);
  T* spread = p.dprojected == nullptr ? own.data() : p.dprojected;
  conv2d_depthwise_data_gradient(Conv2dDataGradient<T>{slopes.data(), p.weight, spread, conv});
  if (p.dprompt != nullptr)
    resize_transpose(Resize<T>{spread, p.dprompt, s.batch, s.prompt_height, s.prompt_width, s.height, s.width, channels,
                               Interpolation::bilinear});
}
CLEARSKY_COMPILE_ONCE(prompt_fusion_backward)

}  // namespace clearsky::cpu
