// Attention: between channels, between tokens, within windows.

#include "clearsky/cpu/attention.hpp"
#include "clearsky/cpu/channel_attention.hpp"
#include "clearsky/cpu/window_attention.hpp"
#include "clearsky/cuda/kernels/attention.cuh"
#include "clearsky/cuda/kernels/channel_attention.cuh"
#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

void measure_channels(Harness& h, const Level& l) {
  const int64_t d = l.width / l.heads, count = l.pixels() * l.width;
  Numbers qkv = draw(3 * count, 1), temperature = draw(l.heads, 2, 0.5, 2), dy = draw(count, 3), y(count),
          state(l.heads * (2 * d * d + 2 * d)), dqkv(3 * count), dtemperature(l.heads);
  const auto f = [&](Side at) {
    return ChannelAttentionForward{at(qkv), at(temperature), at(y), at(state), 1, l.pixels(), l.width, l.heads};
  };
  const auto b = [&](Side at) {
    return ChannelAttentionBackward{at(qkv), at(temperature), at(state), at(dy), at(dqkv), at(dtemperature),
                                    1,       l.pixels(),      l.width,   l.heads};
  };
  const DeviceArray<float> forward_room(channel_attention_forward_workspace(f(kDevice))),
      backward_room(channel_attention_backward_workspace(b(kDevice)));
  const std::string shape = times({l.side, l.side, l.width}) + ", heads " + std::to_string(l.heads);
  const double product = 2 * double(count) * double(d);
  for (const Precision p : h.precisions()) {
    // Products of sums over the pixels with sums over the channels.
    const double allowed = bound(p, double(l.pixels() + d));
    h.measure(
        {"channel_attention_forward", shape, 4 * double(qkv.size() + y.size() + state.size() + l.heads), 2 * product,
         allowed, p},
        {y, state}, [&](Stream t) { channel_attention_forward(f(kDevice), p, forward_room.data(), t); },
        shared_reference(p, [&] { cpu::channel_attention_forward(f(kHost)); }));
    // A temperature's gradient is a difference of large sums, and there are few of them.
    h.measure(
        {"channel_attention_backward", shape,
         4 * double(qkv.size() + state.size() + dy.size() + dqkv.size() + 2 * l.heads), 4 * product, 4 * allowed, p},
        {dqkv, dtemperature}, [&](Stream t) { channel_attention_backward(b(kDevice), p, backward_room.data(), t); },
        shared_reference(p, [&] { cpu::channel_attention_backward(b(kHost)); }));
  }
}

/// Queries, keys, values, what comes of them and the gradients.
struct Tokens {
  Numbers q, k, v, dy, y, lse, dq, dk, dv;
  Tokens(int64_t count, int64_t queries)
      : q(draw(count, 1)),
        k(draw(count, 2)),
        v(draw(count, 3)),
        dy(draw(count, 4)),
        y(count),
        lse(queries),
        dq(count),
        dk(count),
        dv(count) {}
  AttentionForward forward(Side at, const cpu::AttentionShape& s) {
    return {at(q), at(k), at(v), at(y), at(lse), {}, s};
  }
  AttentionBackward backward(Side at, const cpu::AttentionShape& s) {
    return {at(q), at(k), at(v), at(y), at(lse), at(dy), at(dq), at(dk), at(dv), {}, s};
  }
  double forward_bytes() const { return 4 * double(4 * q.size() + lse.size()); }
  double backward_bytes() const { return 4 * double(8 * q.size() + lse.size()); }
};

void measure_tokens(Harness& h, int64_t heads, int64_t tokens, int64_t width) {
  Tokens a(heads * tokens * width, heads * tokens);
  const cpu::AttentionShape s{1, heads, tokens, tokens, width, 1 / std::sqrt(double(width)), false};
  const DeviceArray<float> room(attention_backward_workspace(a.backward(kDevice, s)));
  const std::string shape = "heads " + std::to_string(heads) + ", " + times({tokens, width});
  const double product = 2 * double(heads * tokens * tokens * width);
  for (const Precision p : h.precisions()) {
    const double allowed = bound(p, double(tokens + width));  // backward: of products of rounded products
    h.measure(
        {"attention_forward", shape, a.forward_bytes(), 2 * product, allowed, p}, {a.y, a.lse},
        [&](Stream t) { attention_forward(a.forward(kDevice, s), p, t); },
        shared_reference(p, [&] { cpu::attention_forward(a.forward(kHost, s)); }));
    h.measure(
        {"attention_backward", shape, a.backward_bytes(), 5 * product, 2 * allowed, p}, {a.dq, a.dk, a.dv},
        [&](Stream t) { attention_backward(a.backward(kDevice, s), p, room.data(), t); },
        shared_reference(p, [&] { cpu::attention_backward(a.backward(kHost, s)); }));
  }
}

void measure_windows(Harness& h, const Level& l, int64_t window) {
  const int64_t heads = 2, count = l.pixels() * l.width, tokens = window * window, d = l.width / heads;
  Tokens a(count, l.pixels() * heads);
  const cpu::WindowShape s{1, l.side, l.side, l.width, heads, window, 1 / std::sqrt(double(d))};
  const auto f = [&](Side at) { return WindowAttentionForward{at(a.q), at(a.k), at(a.v), at(a.y), at(a.lse), s}; };
  const auto b = [&](Side at) {
    return WindowAttentionBackward{at(a.q),  at(a.k),  at(a.v),  at(a.y),  at(a.lse),
                                   at(a.dy), at(a.dq), at(a.dk), at(a.dv), s};
  };
  const DeviceArray<float> room(window_attention_backward_workspace(b(kDevice)));
  const std::string shape = times({l.side, l.side, l.width}) + ", windows of " + std::to_string(window);
  const double product = 2 * double(count) * double(tokens);
  for (const Precision p : h.precisions()) {
    const double allowed = bound(p, double(tokens + d));
    h.measure(
        {"window_attention_forward", shape, a.forward_bytes(), 2 * product, allowed, p}, {a.y, a.lse},
        [&](Stream t) { window_attention_forward(f(kDevice), p, t); },
        shared_reference(p, [&] { cpu::window_attention_forward(f(kHost)); }));
    h.measure(
        {"window_attention_backward", shape, a.backward_bytes(), 5 * product, 2 * allowed, p}, {a.dq, a.dk, a.dv},
        [&](Stream t) { window_attention_backward(b(kDevice), p, room.data(), t); },
        shared_reference(p, [&] { cpu::window_attention_backward(b(kHost)); }));
  }
}

}  // namespace

void measure_attention(Harness& h) {
  for (const Level& l : h.levels()) measure_channels(h, l);
  if (h.check()) {
    measure_tokens(h, 2, 70, 8);  // more than a tile's
    measure_windows(h, h.first_level(), 4);
    return;
  }
  measure_tokens(h, 4, 256, 32);
  measure_tokens(h, 4, 4096, 32);
  measure_tokens(h, 4, 1024, 64);
  measure_windows(h, h.levels()[0], 8);
  measure_windows(h, h.levels()[1], 8);
}

}  // namespace clearsky::cuda::bench
