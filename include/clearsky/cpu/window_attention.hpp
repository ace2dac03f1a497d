#pragma once
// Attention within the windows of an image: each window x window tile of pixels is a sequence of its own. A window's
// keys and values are copied side by side, one head at a time; queries are read and written where they lie.

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

/// Where the windows of an image lie, and their heads.
struct WindowPlace {
  int64_t offset, run, jump, step;  // of the first token, in elements; tokens of a row, between rows, between tokens

  /// @param index  window * heads + head
  WindowPlace(const WindowShape& s, int64_t index) : run(s.window), jump(s.width * s.channels), step(s.channels) {
    const int64_t across = s.width / s.window, w = index / s.heads, head = index % s.heads;
    offset = (w / across * s.width + w % across) * s.window * s.channels + head * (s.channels / s.heads);
  }
  template <class T>
  HeadRows<T> of(T* image) const {
    return {image + offset, step, run, jump};
  }
};

template <class T>
void copy_head(const HeadRows<const T>& from, int64_t rows, int64_t width, T* to) {
  for (int64_t i = 0; i < rows; ++i) std::copy_n(from[i], width, to + i * width);
}
template <class T>
void copy_head(const T* from, int64_t rows, int64_t width, const HeadRows<T>& to) {
  for (int64_t i = 0; i < rows; ++i) std::copy_n(from + i * width, width, to[i]);
}

}  // namespace detail

template <class T>
void window_attention_forward(const WindowAttentionForward<T>& p) {
  if (p.shape.numel() == 0) return;
  const AttentionShape s = p.shape.sequences();
  constexpr int64_t kQ = detail::kQueryBlock<T>;
  const int64_t size = s.keys * s.width;
  parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(detail::forward_scratch<T>(s.width)), k(size), v(size);
    for (int64_t h = begin; h < end; ++h) {
      const detail::WindowPlace at(p.shape, h);
      detail::copy_head(at.of(p.k), s.keys, s.width, k.data());
      detail::copy_head(at.of(p.v), s.keys, s.width, v.data());
      for (int64_t q0 = 0; q0 < s.queries; q0 += kQ)
        detail::attend_forward<T>(at.of(p.q), k.data(), v.data(), at.of(p.y), p.lse + h * s.queries + q0, s,
                                  detail::HiddenKeys(s, {nullptr, {}}, h), q0, (std::min)(kQ, s.queries - q0),
                                  scratch.data());
    }
  });
}

template <class T>
void window_attention_backward(const WindowAttentionBackward<T>& p) {
  if (p.shape.numel() == 0) return;
  const AttentionShape s = p.shape.sequences();
  constexpr int64_t kQ = detail::kQueryBlock<T>;
  const int64_t size = s.keys * s.width;
  parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(detail::backward_scratch<T>(s.width)), k(size), v(size), dk(size), dv(size);
    for (int64_t h = begin; h < end; ++h) {
      const detail::WindowPlace at(p.shape, h);
      detail::copy_head(at.of(p.k), s.keys, s.width, k.data());
      detail::copy_head(at.of(p.v), s.keys, s.width, v.data());
      for (int64_t q0 = 0; q0 < s.queries; q0 += kQ)
        detail::attend_backward<T>(at.of(p.q), k.data(), v.data(), at.of(p.y), p.lse + h * s.queries + q0, at.of(p.dy),
                                   at.of(p.dq), dk.data(), dv.data(), s, detail::HiddenKeys(s, {nullptr, {}}, h), q0,
                                   (std::min)(kQ, s.queries - q0), q0 == 0, scratch.data());
      detail::copy_head(dk.data(), s.keys, s.width, at.of(p.dk));
      detail::copy_head(dv.data(), s.keys, s.width, at.of(p.dv));
    }
  });
}

}  // namespace clearsky::cpu
