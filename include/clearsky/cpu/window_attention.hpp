#pragma once
// Attention within the windows of an image: each window x window tile of pixels is a sequence of its own. Windows are
// copied out, and attention.hpp does the rest.

#include <algorithm>
#include <cstdint>

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

/// copy(a, b, width) for each token of each head: a is its place in an image, b the one among copied windows
/// (windows, heads, tokens, width).
template <class Copy>
void each_window_token(const WindowShape& s, const Copy& copy) {
  const int64_t down = s.height / s.window, across = s.width / s.window, width = s.channels / s.heads;
  parallel_for(s.batch * down * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t w = begin; w < end; ++w) {
      const int64_t top = w / across * s.window, left = w % across * s.window;  // top: of all images' rows
      for (int64_t head = 0; head < s.heads; ++head)
        for (int64_t i = 0; i < s.window; ++i)
          for (int64_t j = 0; j < s.window; ++j)
            copy(((top + i) * s.width + left + j) * s.channels + head * width,
                 (((w * s.heads + head) * s.window + i) * s.window + j) * width, width);
    }
  });
}
template <class T>
void cut_windows(const WindowShape& s, const T* image, T* windows) {
  each_window_token(s, [=](int64_t a, int64_t b, int64_t n) { std::copy_n(image + a, n, windows + b); });
}
template <class T>
void join_windows(const WindowShape& s, const T* windows, T* image) {
  each_window_token(s, [=](int64_t a, int64_t b, int64_t n) { std::copy_n(windows + b, n, image + a); });
}

/// An image's windows.
template <class T>
struct CutWindows {
  Scratch<T> values;
  explicit CutWindows(const WindowShape& s) : values(s.numel()) {}
  CutWindows(const WindowShape& s, const T* image) : CutWindows(s) { cut_windows(s, image, values.data()); }
  T* data() const { return values.data(); }
};

}  // namespace detail

template <class T>
void window_attention_forward(const WindowAttentionForward<T>& p) {
  if (p.shape.numel() == 0) return;
  const detail::CutWindows<T> q(p.shape, p.q), k(p.shape, p.k), v(p.shape, p.v), y(p.shape);
  attention_forward<T>({q.data(), k.data(), v.data(), y.data(), p.lse, {nullptr, {}}, p.shape.sequences()});
  detail::join_windows(p.shape, y.data(), p.y);
}

template <class T>
void window_attention_backward(const WindowAttentionBackward<T>& p) {
  if (p.shape.numel() == 0) return;
  const detail::CutWindows<T> q(p.shape, p.q), k(p.shape, p.k), v(p.shape, p.v), y(p.shape, p.y), dy(p.shape, p.dy),
      dq(p.shape), dk(p.shape), dv(p.shape);
  attention_backward<T>({q.data(),
                         k.data(),
                         v.data(),
                         y.data(),
                         p.lse,
                         dy.data(),
                         dq.data(),
                         dk.data(),
                         dv.data(),
                         {nullptr, {}},
                         p.shape.sequences()});
  detail::join_windows(p.shape, dq.data(), p.dq);
  detail::join_windows(p.shape, dk.data(), p.dk);
  detail::join_windows(p.shape, dv.data(), p.dv);
}

}  // namespace clearsky::cpu
