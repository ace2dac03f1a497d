#pragma once
// Prompt-guided fusion's gate and mix in one pass.
//
//     G  = sigmoid(context + bias)                       context per image and channel, bias per pixel and channel
//     y  = O + G (S - O)  (replace)   or   O + G S  (inject)

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

template <class T>
struct MixForward {
  const T* optical;  // (batch, pixels, channels)
  const T* sar;      // (batch, pixels, channels)
  const T* context;  // (batch, channels)
  const T* bias;     // (batch, pixels, channels)
  T* y;              // (batch, pixels, channels)  written
  T* reliance;       // (batch, pixels)            written: mean of G over the channels; or null
  int64_t batch, pixels, channels;
  bool replace;
};

///     h = dy (S - O) G (1 - G)  (replace)   or   dy S G (1 - G)  (inject)
///     doptical = dy (1 - G)  or  dy,   dsar = dy G,   dbias = h,   dcontext = sum over the pixels of h
template <class T>
struct MixBackward {
  const T* optical;
  const T* sar;
  const T* context;
  const T* bias;
  const T* dy;  // (batch, pixels, channels)
  T* doptical;  // (batch, pixels, channels)  written; or null
  T* dsar;      // (batch, pixels, channels)  written; or null
  T* dcontext;  // (batch, channels)          written; or null
  T* dbias;     // (batch, pixels, channels)  written; or null
  int64_t batch, pixels, channels;
  bool replace;
};

template <class T>
void mix_forward(const MixForward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t channels = p.channels;
  if (channels == 0) return;
  parallel_for(p.batch * p.pixels, (std::max)(int64_t(1), 8192 / channels), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* context = p.context + r / p.pixels * channels;
      Vec<T> total{};
      for (int64_t c = 0; c < channels; c += kLane) {
        const int64_t left = channels - c, at = r * channels + c;
        const Vec<T> gate = vec_sigmoid<T>(load_partial(context + c, left) + load_partial(p.bias + at, left));
        const Vec<T> o = load_partial(p.optical + at, left), s = load_partial(p.sar + at, left);
        store_partial(p.y + at, o + gate * (p.replace ? s - o : s), left);
        if (left >= kLane) {
          total += gate;
        } else {  // lanes behind the last channel hold sigmoid(0), not 0
          T lanes[kLane] = {};
          store_partial(lanes, gate, left);
          total += load(lanes);
        }
      }
      if (p.reliance != nullptr) p.reliance[r] = sum_lanes<T>(total) / T(channels);
    }
  });
}
CLEARSKY_COMPILE_ONCE(mix_forward)

template <class T>
void mix_backward(const MixBackward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t channels = p.channels;
  if (p.batch * channels == 0) return;
  const int64_t slots = (std::min)(int64_t(16), p.pixels / 256 + 1);  // of each image
  const Scratch<T> parts(p.batch * slots * channels);
  parallel_for(p.batch * slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t n = t / slots, slot = t % slots;
      const T* context = p.context + n * channels;
      T* dcontext = parts.data() + t * channels;
      std::fill_n(dcontext, channels, T(0));
      for (int64_t i = p.pixels * slot / slots; i < p.pixels * (slot + 1) / slots; ++i)
        for (int64_t c = 0; c < channels; c += kLane) {
          const int64_t left = channels - c, at = (n * p.pixels + i) * channels + c;
          const Vec<T> gate = vec_sigmoid<T>(load_partial(context + c, left) + load_partial(p.bias + at, left));
          const Vec<T> o = load_partial(p.optical + at, left), s = load_partial(p.sar + at, left);
          const Vec<T> g = load_partial(p.dy + at, left);
          const Vec<T> h = g * (p.replace ? s - o : s) * (gate * (T(1) - gate));
          if (p.doptical != nullptr) store_partial(p.doptical + at, p.replace ? g * (T(1) - gate) : g, left);
          if (p.dsar != nullptr) store_partial(p.dsar + at, g * gate, left);
          if (p.dbias != nullptr) store_partial(p.dbias + at, h, left);
          store_partial(dcontext + c, load_partial(dcontext + c, left) + h, left);
        }
    }
  });
  if (p.dcontext == nullptr) return;
  for (int64_t n = 0; n < p.batch; ++n)
    detail::add_slots(parts.data() + n * slots * channels, slots, channels, p.dcontext + n * channels);
}
CLEARSKY_COMPILE_ONCE(mix_backward)

}  // namespace clearsky::cpu
