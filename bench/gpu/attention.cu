// Attention: between channels, between tokens, within windows.

#include "clearsky/cpu/attention.hpp"
#include "clearsky/cpu/channel_attention.hpp"
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
  const double product = 2 * double(heads * tokens * tokens * width), allowed = bound(double(tokens + width));
  h.measure(
      {"attention_forward", shape, a.forward_bytes(), 2 * product, allowed}, {a.y, a.lse},
      [&](Stream t) { attention_forward(a.forward(kDevice, s), t); },
      [&] { cpu::attention_forward(a.forward(kHost, s)); });
  h.measure(
      {"attention_backward", shape, a.backward_bytes(), 5 * product, allowed}, {a.dq, a.dk, a.dv},
      [&](Stream t) { attention_backward(a.backward(kDevice, s), room.data(), t); },
      [&] { cpu::attention_backward(a.backward(kHost, s)); });
}

/// The CPU has attention between sequences alone: there the windows are cut out and put back.
struct CutWindows {
  int64_t side, channels, heads, window;
  int64_t count() const { return side * side * channels; }
  int64_t place(int64_t i) const {
    const int64_t d = channels / heads, tokens = window * window, across = side / window;
    const int64_t e = i % d, t = i / d % tokens, head = i / d / tokens % heads, w = i / d / tokens / heads;
    const int64_t x = w % across * window + t % window, y = w / across * window + t / window;
    return (y * side + x) * channels + head * d + e;
  }
  std::vector<float> cut(const float* image) const {
    std::vector<float> out(static_cast<size_t>(count()));
    for (int64_t i = 0; i < count(); ++i) out[size_t(i)] = image[place(i)];
    return out;
  }
  void put_back(const std::vector<float>& cut, float* image) const {
    for (int64_t i = 0; i < count(); ++i) image[place(i)] = cut[size_t(i)];
  }
};

void measure_windows(Harness& h, const Level& l, int64_t window) {
  const int64_t heads = 2, count = l.pixels() * l.width, tokens = window * window, d = l.width / heads;
  Tokens a(count, l.pixels() * heads);
  const cpu::AttentionShape s{l.pixels() / tokens, heads, tokens, tokens, d, 1 / std::sqrt(double(d)), false};
  const CutWindows windows{l.side, l.width, heads, window};
  const WindowAttention p{a.q.device(),  a.k.device(),  a.v.device(),  a.y.device(),  a.lse.device(),
                          a.dy.device(), a.dq.device(), a.dk.device(), a.dv.device(), 1,
                          l.side,        l.side,        l.width,       heads,         window,
                          s.scale};
  const DeviceArray<float> room(window_attention_backward_workspace(p));
  const std::string shape = times({l.side, l.side, l.width}) + ", windows of " + std::to_string(window);
  const double product = 2 * double(count) * double(tokens), allowed = bound(double(tokens + d));
  const std::vector<float> q = windows.cut(a.q.host()), k = windows.cut(a.k.host()), v = windows.cut(a.v.host()),
                           dy = windows.cut(a.dy.host());
  std::vector<float> y(q.size());
  h.measure(
      {"window_attention_forward", shape, a.forward_bytes(), 2 * product, allowed}, {a.y, a.lse},
      [&](Stream t) { window_attention_forward(p, t); },
      [&] {
        cpu::attention_forward(AttentionForward{q.data(), k.data(), v.data(), y.data(), a.lse.host(), {}, s});
        windows.put_back(y, a.y.host());
      });
  h.measure(
      {"window_attention_backward", shape, a.backward_bytes(), 5 * product, allowed}, {a.dq, a.dk, a.dv},
      [&](Stream t) { window_attention_backward(p, room.data(), t); },
      [&] {
        std::vector<float> dq(q.size()), dk(q.size()), dv(q.size());
        cpu::attention_backward(AttentionBackward{
            q.data(), k.data(), v.data(), y.data(), a.lse.host(), dy.data(), dq.data(), dk.data(), dv.data(), {}, s});
        windows.put_back(dq, a.dq.host());
        windows.put_back(dk, a.dk.host());
        windows.put_back(dv, a.dv.host());
      });
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
