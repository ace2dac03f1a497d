#include "clearsky/cuda/kernels/attention.cuh"

#include "kernels.hpp"

namespace clearsky::test {
namespace {

struct Size {
  int64_t batch, heads, queries, keys, width;
  bool causal, masked;
};
// One of everything; several tiles, not full; widths that are no fours, above 32 and above 64; fewer queries than keys
// and the other way round under a causal mask; no keys at all.
const Size kSizes[] = {
    {1, 1, 1, 1, 1, false, false},   {2, 2, 33, 70, 8, false, false}, {1, 2, 40, 35, 6, false, true},
    {1, 1, 35, 66, 32, true, false}, {1, 1, 66, 35, 12, true, true},  {1, 1, 34, 40, 45, false, false},
    {1, 1, 33, 35, 64, false, true}, {2, 2, 34, 33, 4, false, true},  {1, 1, 33, 34, 128, false, false},
    {1, 1, 5, 33, 100, true, false}, {1, 2, 3, 0, 4, false, false},   {0, 2, 3, 4, 4, false, false}};

struct Exact {
  std::vector<double> y, lse, dq, dk, dv, y_scale, dq_scale, dk_scale, dv_scale;
  Exact(const cpu::AttentionShape& s, const cpu::AttentionMask& mask, const Values<float>& q, const Values<float>& k,
        const Values<float>& v, const Values<float>& dy) {
    const auto room = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n), 0.0); };
    const int64_t rows = s.batch * s.heads * s.queries, columns = s.batch * s.heads * s.keys;
    y = y_scale = dq = dq_scale = room(rows * s.width), dk = dk_scale = dv = dv_scale = room(columns * s.width);
    lse = room(rows);
    for (int64_t b = 0; b < s.batch * s.heads; ++b)
      for (int64_t i = 0; i < s.queries; ++i) {
        std::vector<double> p = room(s.keys), slope = p;
        double sum = 0;
        const auto at = [&](int64_t token, int64_t tokens, int64_t c) {
          return size_t((b * tokens + token) * s.width + c);
        };
        for (int64_t j = 0; j < s.keys; ++j) {
          const bool allowed =
              (!s.causal || j <= i + s.keys - s.queries) &&
              (mask.allowed == nullptr || mask.allowed[b / s.heads * mask.strides[0] + b % s.heads * mask.strides[1] +
                                                       i * mask.strides[2] + j * mask.strides[3]]);
          if (!allowed) continue;
          double score = 0;
          for (int64_t c = 0; c < s.width; ++c) {
            score += double(q[at(i, s.queries, c)]) * k[at(j, s.keys, c)];
            slope[size_t(j)] += double(dy[at(i, s.queries, c)]) * v[at(j, s.keys, c)];
          }
          sum += p[size_t(j)] = std::exp(s.scale * score);
        }
        lse[size_t(b * s.queries + i)] = std::log(sum);
        double delta = 0, delta_scale = 0;
        for (int64_t j = 0; j < s.keys; ++j) {
          p[size_t(j)] = sum == 0 ? 0 : p[size_t(j)] / sum;
          delta += p[size_t(j)] * slope[size_t(j)];
          delta_scale += p[size_t(j)] * std::abs(slope[size_t(j)]);
        }
        // Scores are below 4, so that the exponential turns their rounding into as many of its own.
        for (int64_t j = 0; j < s.keys; ++j)
          for (int64_t c = 0; c < s.width; ++c) {
            const double w = p[size_t(j)], ds = w * (slope[size_t(j)] - delta) * s.scale;
            const double ds_scale = w * (std::abs(slope[size_t(j)]) + delta_scale + double(s.width)) * s.scale;
            const size_t qi = at(i, s.queries, c), kj = at(j, s.keys, c);
            y[qi] += w * v[kj], y_scale[qi] += w * std::abs(double(v[kj]));
            dq[qi] += ds * k[kj], dq_scale[qi] += ds_scale * std::abs(double(k[kj]));
            dk[kj] += ds * q[qi], dk_scale[kj] += ds_scale * std::abs(double(q[qi]));
            dv[kj] += w * dy[qi], dv_scale[kj] += w * std::abs(double(dy[qi]));
          }
      }
  }
};

TEST_CASE("attention: values and gradients as in double and on the CPU") {
  for (const Size& z : kSizes)
    for (int64_t shift : {0, 1}) {
      CAPTURE(z.queries);
      CAPTURE(z.keys);
      CAPTURE(z.width);
      CAPTURE(shift);
      const cpu::AttentionShape s{z.batch, z.heads, z.queries, z.keys, z.width, 0.35, z.causal};
      const int64_t rows = s.batch * s.heads * s.queries, on_queries = rows * s.width,
                    on_keys = s.batch * s.heads * s.keys * s.width;
      const Values<float> q = draw(on_queries, 1), k = draw(on_keys, 2), v = draw(on_keys, 3), dy = draw(on_queries, 4);
      // One mask for all heads, or one for each; query 1 may look nowhere. uint8_t: a vector of bool has no addresses.
      std::vector<uint8_t> allowed(size_t(s.batch * s.heads * s.queries * s.keys));
      for (size_t i = 0; i < allowed.size(); ++i)
        allowed[i] = Key{9}.uniform(i) < 0.6 && int64_t(i) / std::max(s.keys, int64_t(1)) % s.queries != 1;
      const Values<uint8_t> mask_values(allowed);
      const auto mask = [&](const uint8_t* p) {
        return cpu::AttentionMask{z.masked ? reinterpret_cast<const bool*>(p) : nullptr,
                                  {s.heads * s.queries * s.keys, s.batch > 1 ? s.queries * s.keys : 0, s.keys, 1}};
      };
      const auto y = in_every_order([&] {
        std::vector<Output> out{Output(on_queries), Output(rows)};
        cuda::attention_forward({q.device(shift), k.device(shift), v.device(shift), out[0].data(), out[1].data(),
                                 mask(mask_values.device()), s},
                                nullptr);
        return out;
      });
      std::vector<float> cpu_y(static_cast<size_t>(on_queries)), cpu_lse(static_cast<size_t>(rows));
      cpu::attention_forward<float>(
          {q.data(), k.data(), v.data(), cpu_y.data(), cpu_lse.data(), mask(allowed.data()), s});
      const Values<float> given_y(cpu_y), given_lse(cpu_lse);
      const auto d = in_every_order([&] {
        std::vector<Output> out{Output(on_queries), Output(on_keys), Output(on_keys)};
        const cuda::AttentionBackward p{q.device(shift),
                                        k.device(shift),
                                        v.device(shift),
                                        given_y.device(),
                                        given_lse.device(),
                                        dy.device(shift),
                                        out[0].data(),
                                        out[1].data(),
                                        out[2].data(),
                                        mask(mask_values.device()),
                                        s};
        Output workspace(cuda::attention_backward_workspace(p));
        // y is not shifted: copies that need its alignment are of q, k, v and dy only.
        cuda::attention_backward(p, workspace.data(), nullptr);
        CHECK(workspace.sentinels_intact());
        return out;
      });
      std::vector<float> cpu_dq(static_cast<size_t>(on_queries)), cpu_dk(static_cast<size_t>(on_keys)), cpu_dv(cpu_dk);
      cpu::attention_backward<float>({q.data(), k.data(), v.data(), cpu_y.data(), cpu_lse.data(), dy.data(),
                                      cpu_dq.data(), cpu_dk.data(), cpu_dv.data(), mask(allowed.data()), s});
      const Exact exact(s, mask(allowed.data()), q, k, v, dy);
      Worst worst, cpu;
      const auto check = [&](const Output& got, const std::vector<double>& want, const std::vector<double>& scale,
                             const std::vector<float>& on_cpu, int64_t terms) {
        for (size_t i = 0; i < want.size(); ++i) {
          const double bound = 4 * allowed_error(kRoundFloat, kRoundFloat, double(terms), scale[i]);
          worst.add(got[int64_t(i)], want[i], bound);
          cpu.add(got[int64_t(i)], on_cpu[i], 2 * bound);
        }
      };
      check(y[0], exact.y, exact.y_scale, cpu_y, s.keys + s.width);
      check(d[0], exact.dq, exact.dq_scale, cpu_dq, s.keys + s.width);
      check(d[1], exact.dk, exact.dk_scale, cpu_dk, s.queries + s.width);
      check(d[2], exact.dv, exact.dv_scale, cpu_dv, s.queries + s.width);
      CHECK(worst.share() <= 1);
      CHECK(cpu.share() <= 1);
      for (int64_t i = 0; i < rows; ++i)
        if (std::isinf(exact.lse[size_t(i)])) CHECK(y[1][i] == -INFINITY);
        else CHECK(std::abs(y[1][i] - exact.lse[size_t(i)]) <= 1e-5);
    }
}

TEST_CASE("window attention reads the image where it lies: the same bits as attention between copied windows") {
  const int64_t n = 2, h = 8, w = 12, c = 8, heads = 2, window = 4, d = c / heads, tokens = window * window;
  const int64_t windows = n * (h / window) * (w / window), count = n * h * w * c;
  const Values<float> q = draw(count, 1), k = draw(count, 2), v = draw(count, 3), dy = draw(count, 4);
  // Position of element (window, head, token, channel) in the image.
  const auto place = [&](int64_t i) {
    const int64_t e = i % d, t = i / d % tokens, head = i / d / tokens % heads, win = i / d / tokens / heads;
    const int64_t x = win % (w / window) * window + t % window,
                  y = win / (w / window) % (h / window) * window + t / window;
    return ((win / (w / window) / (h / window) * h + y) * w + x) * c + head * d + e;
  };
  const auto cut = [&](const std::vector<float>& image) {
    std::vector<float> out(image.size());
    for (int64_t i = 0; i < count; ++i) out[size_t(i)] = image[size_t(place(i))];
    return out;
  };
  const Values<float> qw(cut(q.vector())), kw(cut(k.vector())), vw(cut(v.vector())), dyw(cut(dy.vector()));
  const cpu::AttentionShape s{windows, heads, tokens, tokens, d, 0.5, false};
  Output y(count), lse(windows * heads * tokens), dq(count), dk(count), dv(count);
  cuda::attention_forward({qw.device(), kw.device(), vw.device(), y.data(), lse.data(), {}, s}, nullptr);
  const cuda::AttentionBackward b{qw.device(), kw.device(), vw.device(), y.data(), lse.data(), dyw.device(),
                                  dq.data(),   dk.data(),   dv.data(),   {},       s};
  Output workspace(cuda::attention_backward_workspace(b));
  cuda::attention_backward(b, workspace.data(), nullptr);
  const auto in_place = in_every_order([&] {
    std::vector<Output> out;
    for (int i = 0; i < 4; ++i) out.emplace_back(count);
    out.emplace_back(windows * heads * tokens);
    const cuda::WindowAttention p{q.device(),
                                  k.device(),
                                  v.device(),
                                  out[0].data(),
                                  out[4].data(),
                                  dy.device(),
                                  out[1].data(),
                                  out[2].data(),
                                  out[3].data(),
                                  n,
                                  h,
                                  w,
                                  c,
                                  heads,
                                  window,
                                  0.5};
    cuda::window_attention_forward(p, nullptr);
    Output space(cuda::window_attention_backward_workspace(p));
    cuda::window_attention_backward(p, space.data(), nullptr);
    return out;
  });
  const Output* want[] = {&y, &dq, &dk, &dv};
  for (size_t i = 0; i < 4; ++i) CHECK(cut(in_place[i].vector()) == want[i]->vector());
  CHECK(in_place[4].vector() == lse.vector());
}

#if !CLEARSKY_SIMT_LENS  // which would need minutes
TEST_CASE("attention: more sequences than a grid has rows in its second and third dimension") {
  const int64_t n = 65536 + 3;
  Values<float> q(std::vector<float>(n, 1.0f));
  Output y(n), lse(n);  // without keys, so that blocks are cheap
  cuda::attention_forward({q.device(), nullptr, nullptr, y.data(), lse.data(), {}, {n, 1, 1, 0, 1, 1, false}}, nullptr);
  CHECK(y.vector() == std::vector<float>(n, 0.0f));
  CHECK(lse.vector() == std::vector<float>(n, -INFINITY));
}
#endif

TEST_CASE("attention: a query with only scores of minus infinity has no weights, as on the CPU") {
  std::vector<float> large(8, 3e38f), queries = draw(8, 1).vector();
  for (int c = 0; c < 4; ++c) queries[size_t(c)] = -3e38f;  // of the first of two queries: -inf with both keys
  for (int c = 4; c < 8; ++c) queries[size_t(c)] = 0;
  const Values<float> q(queries), k(large), v = draw(8, 2), dy = draw(8, 3);
  const cpu::AttentionShape s{1, 1, 2, 2, 4, 1, false};
  Output y(8), lse(2), dq(8), dk(8), dv(8), delta(2);
  cuda::attention_forward({q.device(), k.device(), v.device(), y.data(), lse.data(), {}, s}, nullptr);
  cuda::attention_backward(
      {q.device(), k.device(), v.device(), y.data(), lse.data(), dy.device(), dq.data(), dk.data(), dv.data(), {}, s},
      delta.data(), nullptr);
  CHECK(lse[0] == -INFINITY);
  for (int64_t c = 0; c < 4; ++c) {
    CHECK(y[c] == 0);
    CHECK(dq[c] == 0);
    CHECK(y[4 + c] == doctest::Approx(0.5 * (v[size_t(c)] + v[size_t(4 + c)])));
    CHECK(dv[c] == doctest::Approx(0.5 * dy[size_t(4 + c)]));
    CHECK(dv[4 + c] == doctest::Approx(0.5 * dy[size_t(4 + c)]));
    CHECK(std::isfinite(dk[c]));
  }
}

TEST_CASE("attention: heads that no tile holds are refused") {
  CHECK_THROWS_WITH_AS(
      cuda::attention_forward({nullptr, nullptr, nullptr, nullptr, nullptr, {}, {1, 1, 1, 1, 130, 1, false}}, nullptr),
      doctest::Contains("heads of 130; a device takes 2147483392 of each, and heads of 128"), ShapeError);
}

}  // namespace
}  // namespace clearsky::test
