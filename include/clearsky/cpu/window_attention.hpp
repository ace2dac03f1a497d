#pragma once
// Attention within the windows of an image: each window x window tile of pixels is a sequence of its own. A window is
// copied, all heads at once: its rows lie a power of two apart in most images, so that the pieces of one head would
// push each other out of the cache.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/attention.hpp"

namespace clearsky::cpu {

struct WindowShape {
  int64_t batch, height, width, channels;
  int64_t heads, window;  // heads divide the channels, the window height and width
  double scale;

  int64_t numel() const { return batch * height * width * channels; }
  /// Windows are counted by image, then by row of windows.
  AttentionShape sequences() const {
    const int64_t tokens = window * window;
    return {batch * (height / window) * (width / window), heads, tokens, tokens, channels / heads, scale, false};
  }
};

template <class T>
struct WindowAttentionForward {
  const T* q;  // (batch, height, width, channels)
  const T* k;  // as q
  const T* v;  // as q
  T* y;        // as q                             written
  T* lse;      // (windows, heads, window window)  written
  WindowShape shape;
};

template <class T>
struct WindowAttentionBackward {
  const T* q;
  const T* k;
  const T* v;
  const T* y;
  const T* lse;
  const T* dy;  // as q
  T* dq;        // as q, written
  T* dk;
  T* dv;
  WindowShape shape;
};

namespace detail {

/// copy(a, b) for each token of each head of window `index`: a is its place in the image, b the one among the window's
/// (heads, tokens, width).
template <class Copy>
void each_window_token(const WindowShape& s, int64_t index, const Copy& copy) {
  const int64_t across = s.width / s.window, width = s.channels / s.heads, tokens = s.window * s.window;
  const int64_t top = index / across * s.window, left = index % across * s.window;  // top: of all images' rows
  for (int64_t i = 0; i < s.window; ++i)
    for (int64_t j = 0; j < s.window; ++j)
      for (int64_t head = 0; head < s.heads; ++head)
        copy(((top + i) * s.width + left + j) * s.channels + head * width, (head * tokens + i * s.window + j) * width);
}
template <class T>
void copy_token(const T* from, int64_t width, T* to) {
  for (int64_t c = 0; c < width; c += kLanes<T>) store_partial(to + c, load_partial(from + c, width - c), width - c);
}
/// @return windows, the window's values
template <class T>
const T* cut_window(const WindowShape& s, int64_t index, const T* image, T* window) {
  const int64_t width = s.channels / s.heads, row = s.width * s.channels, last = s.numel() - row;
  each_window_token(s, index, [=](int64_t a, int64_t b) {
    // The window's next row, of which no hardware knows.
    if (a < last)
      for (int64_t c = 0; c < width; c += 64 / int64_t(sizeof(T))) __builtin_prefetch(image + a + row + c);
    copy_token(image + a, width, window + b);
  });
  return window;
}
template <class T>
void join_window(const WindowShape& s, int64_t index, const T* window, T* image) {
  const int64_t width = s.channels / s.heads;
  each_window_token(s, index, [=](int64_t a, int64_t b) { copy_token(window + b, width, image + a); });
}

}  // namespace detail

template <class T>
void window_attention_forward(const WindowAttentionForward<T>& p) {
  if (p.shape.numel() == 0) return;
  const AttentionShape s = p.shape.sequences();
  constexpr int64_t kQ = detail::kQueryBlock<T>;
  const int64_t head = s.keys * s.width, size = s.heads * head;
  const AttentionMask everywhere{nullptr, {}};
  parallel_for(s.batch, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(detail::forward_scratch<T>(s.width)), copies(4 * size);
    T* const y = copies.data() + 3 * size;
    for (int64_t w = begin; w < end; ++w) {
      const T* q = detail::cut_window(p.shape, w, p.q, copies.data());
      const T* k = detail::cut_window(p.shape, w, p.k, copies.data() + size);
      const T* v = detail::cut_window(p.shape, w, p.v, copies.data() + 2 * size);
      for (int64_t h = 0; h < s.heads; ++h) {
        const int64_t at = h * head;
        T* lse = p.lse + (w * s.heads + h) * s.queries;
        const AttentionForward<T> a{q + at, k + at, v + at, y + at, lse, everywhere, s};
        for (int64_t q0 = 0; q0 < s.queries; q0 += kQ)
          detail::attend_forward(a, detail::HiddenKeys(s, everywhere, 0), q0, (std::min)(kQ, s.queries - q0),
                                 scratch.data());
      }
      detail::join_window(p.shape, w, y, p.y);
    }
  });
}
CLEARSKY_COMPILE_ONCE(window_attention_forward)

template <class T>
void window_attention_backward(const WindowAttentionBackward<T>& p) {
  if (p.shape.numel() == 0) return;
  const AttentionShape s = p.shape.sequences();
  constexpr int64_t kQ = detail::kQueryBlock<T>;
  const int64_t head = s.keys * s.width, size = s.heads * head;
  const AttentionMask everywhere{nullptr, {}};
  parallel_for(s.batch, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(detail::backward_scratch<T>(s.width)), copies(8 * size);
    T *const dq = copies.data() + 5 * size, *const dk = dq + size, *const dv = dk + size;
    for (int64_t w = begin; w < end; ++w) {
      const T* q = detail::cut_window(p.shape, w, p.q, copies.data());
      const T* k = detail::cut_window(p.shape, w, p.k, copies.data() + size);
      const T* v = detail::cut_window(p.shape, w, p.v, copies.data() + 2 * size);
      const T* y = detail::cut_window(p.shape, w, p.y, copies.data() + 3 * size);
      const T* dy = detail::cut_window(p.shape, w, p.dy, copies.data() + 4 * size);
      for (int64_t h = 0; h < s.heads; ++h) {
        const int64_t at = h * head;
        const T* lse = p.lse + (w * s.heads + h) * s.queries;
        const AttentionBackward<T> a{q + at,  k + at,  v + at,  y + at,     lse, dy + at,
                                     dq + at, dk + at, dv + at, everywhere, s};
        for (int64_t q0 = 0; q0 < s.queries; q0 += kQ)
          detail::attend_backward(a, detail::HiddenKeys(s, everywhere, 0), q0, (std::min)(kQ, s.queries - q0), q0 == 0,
                                  scratch.data());
      }
      detail::join_window(p.shape, w, dq, p.dq);
      detail::join_window(p.shape, w, dk, p.dk);
      detail::join_window(p.shape, w, dv, p.dv);
    }
  });
}
CLEARSKY_COMPILE_ONCE(window_attention_backward)

}  // namespace clearsky::cpu
