#include "clearsky/cuda/kernels/attention.cuh"

#include "kernels.hpp"
#include "precision.hpp"

namespace clearsky::test::attention_test {
namespace {

struct Size {
  int64_t batch, heads, queries, keys, width;
  bool causal, masked;
};
// One of everything; several tiles, not full; widths that are no fours, above 32 and above 64; fewer queries than keys
// and the other way round under a causal mask; no keys at all.
const Size kSizes[] = {
    {1, 1, 1, 1, 1, false, false},   {2, 2, 33, 70, 8, false, false}, {1, 2, 40, 35, 6, false, true},
    {1, 1, 36, 66, 32, true, false}, {1, 1, 66, 35, 12, true, true},  {1, 1, 34, 40, 45, false, false},
    {1, 1, 33, 35, 64, false, true}, {2, 2, 34, 33, 4, false, true},  {1, 1, 33, 34, 128, false, false},
    {1, 1, 5, 33, 100, true, false}, {1, 2, 3, 0, 4, false, false},   {0, 2, 3, 4, 4, false, false}};

/// In double. A _scale is what the errors of float sums are measured by, a _mass the sum of |P| or |dS| times the other
/// factor: a rounding of all P or dS by a share u moves a result by u mass at most.
struct Exact {
  std::vector<double> y, lse, dq, dk, dv, y_scale, dq_scale, dk_scale, dv_scale, dq_mass, dk_mass;
  Exact(const cpu::AttentionShape& s, const cpu::AttentionMask& mask, const Values<float>& q, const Values<float>& k,
        const Values<float>& v, const Values<float>& dy) {
    const auto room = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n), 0.0); };
    const int64_t rows = s.batch * s.heads * s.queries, columns = s.batch * s.heads * s.keys;
    y = y_scale = dq = dq_scale = dq_mass = room(rows * s.width),
    dk = dk_scale = dk_mass = dv = dv_scale = room(columns * s.width);
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
            dq_mass[qi] += std::abs(ds * k[kj]), dk_mass[kj] += std::abs(ds * q[qi]);
            dq[qi] += ds * k[kj], dq_scale[qi] += ds_scale * std::abs(double(k[kj]));
            dk[kj] += ds * q[qi], dk_scale[kj] += ds_scale * std::abs(double(q[qi]));
            dv[kj] += w * dy[qi], dv_scale[kj] += w * std::abs(double(dy[qi]));
          }
      }
  }
};

/// Values as factors of a product see them.
Values<float> factors(Precision precision, const Values<float>& x) {
  std::vector<float> r = x.vector();
  for (float& v : r) v = float(test::rounded(precision, v));
  return r;
}
/// By which share P and dS may be rounded.
double weight_rounding(Precision precision) {
  return precision == Precision::float32 ? 0 : precision == Precision::tf32 ? kRoundHalf : kRoundBfloat16;
}

struct Problem {
  cpu::AttentionShape shape;
  bool masked;
  int64_t rows, on_queries, on_keys;  // elements of lse, q, k
  Values<float> q, k, v, dy;
  Values<uint8_t> allowed;  // uint8_t: a vector of bool has no addresses

  explicit Problem(const Size& z)
      : shape{z.batch, z.heads, z.queries, z.keys, z.width, z.causal && z.masked ? -0.35 : 0.35, z.causal},
        masked(z.masked),
        rows(z.batch * z.heads * z.queries),
        on_queries(rows * z.width),
        on_keys(z.batch * z.heads * z.keys * z.width),
        q(draw(on_queries, 1)),
        k(draw(on_keys, 2)),
        v(draw(on_keys, 3)),
        dy(draw(on_queries, 4)) {
    // One mask for all heads, or one for each; query 1 may look nowhere.
    std::vector<uint8_t> look(size_t(rows * z.keys));
    for (size_t i = 0; i < look.size(); ++i)
      look[i] = Key{9}.uniform(i) < 0.6 && int64_t(i) / std::max(z.keys, int64_t(1)) % z.queries != 1;
    allowed = look;
  }
  cpu::AttentionMask mask(const uint8_t* p) const {
    const cpu::AttentionShape& s = shape;
    return {masked ? reinterpret_cast<const bool*>(p) : nullptr,
            {s.heads * s.queries * s.keys, s.batch > 1 ? s.queries * s.keys : 0, s.keys, 1}};
  }
  std::vector<Output> forward(Precision precision, int64_t shift) const {
    std::vector<Output> out{Output(on_queries + shift), Output(rows)};
    cuda::attention_forward({q.device(shift), k.device(shift), v.device(shift), out[0].data() + shift, out[1].data(),
                             mask(allowed.device()), shape},
                            precision, nullptr);
    return out;
  }
  std::vector<Output> backward(const Values<float>& y, const Values<float>& lse, Precision precision,
                               int64_t shift) const {
    std::vector<Output> out{Output(on_queries + shift), Output(on_keys + shift), Output(on_keys + shift)};
    const cuda::AttentionBackward p{q.device(shift),
                                    k.device(shift),
                                    v.device(shift),
                                    y.device(),
                                    lse.device(),
                                    dy.device(shift),
                                    out[0].data() + shift,
                                    out[1].data() + shift,
                                    out[2].data() + shift,
                                    mask(allowed.device()),
                                    shape};
    Output workspace(cuda::attention_backward_workspace(p));
    cuda::attention_backward(p, precision, workspace.data(), nullptr);
    CHECK(workspace.sentinels_intact());
    return out;
  }
};

/// The largest error, in shares of the bound for float sums of so many terms and of rounded weights.
double share(const Output& got, int64_t shift, const std::vector<double>& want, const std::vector<double>& scale,
             const std::vector<double>& mass, double weight_error, int64_t terms) {
  Worst worst;
  for (size_t i = 0; i < want.size(); ++i)
    worst.add(got[int64_t(i) + shift], want[i],
              4 * allowed_error(kRoundFloat, kRoundFloat, double(terms), scale[i]) + weight_error * mass[i]);
  return worst.share();
}
double share(const Output& got, int64_t shift, const std::vector<float>& on_cpu, const std::vector<double>& scale,
             int64_t terms) {
  Worst worst;
  for (size_t i = 0; i < on_cpu.size(); ++i)
    worst.add(got[int64_t(i) + shift], on_cpu[i], 8 * allowed_error(kRoundFloat, kRoundFloat, double(terms), scale[i]));
  return worst.share();
}

template <class Check>
void each_problem(Check&& check) {
  for (const Size& z : kSizes) {
    CAPTURE(z.queries);
    CAPTURE(z.keys);
    CAPTURE(z.width);
    check(Problem(z));
  }
}

void check_lse(const Output& got, const Exact& exact) {
  for (int64_t i = 0; i < got.size(); ++i)
    if (std::isinf(exact.lse[size_t(i)])) CHECK(got[i] == -INFINITY);
    else CHECK(std::abs(got[i] - exact.lse[size_t(i)]) <= 1e-5);
}

TEST_CASE("attention: values and gradients as in double and on the CPU") {
  each_problem([](const Problem& p) {
    const cpu::AttentionShape& s = p.shape;
    const auto room = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
    std::vector<float> y = room(p.on_queries), lse = room(p.rows), dq = y, dk = room(p.on_keys), dv = dk;
    const cpu::AttentionMask mask = p.mask(p.allowed.data());
    cpu::attention_forward<float>({p.q.data(), p.k.data(), p.v.data(), y.data(), lse.data(), mask, s});
    cpu::attention_backward<float>({p.q.data(), p.k.data(), p.v.data(), y.data(), lse.data(), p.dy.data(), dq.data(),
                                    dk.data(), dv.data(), mask, s});
    const Values<float> given_y(y), given_lse(lse);
    const Exact exact(s, mask, p.q, p.k, p.v, p.dy);
    for (int64_t shift : {0, 1}) {
      CAPTURE(shift);
      const auto f = in_every_order([&] { return p.forward(Precision::float32, shift); });
      const auto d = in_every_order([&] { return p.backward(given_y, given_lse, Precision::float32, shift); });
      const int64_t by_keys = s.keys + s.width, by_queries = s.queries + s.width;
      CHECK(share(f[0], shift, exact.y, exact.y_scale, exact.y_scale, 0, by_keys) <= 1);
      CHECK(share(d[0], shift, exact.dq, exact.dq_scale, exact.dq_mass, 0, by_keys) <= 1);
      CHECK(share(d[1], shift, exact.dk, exact.dk_scale, exact.dk_mass, 0, by_queries) <= 1);
      CHECK(share(d[2], shift, exact.dv, exact.dv_scale, exact.dv_scale, 0, by_queries) <= 1);
      CHECK(share(f[0], shift, y, exact.y_scale, by_keys) <= 1);
      CHECK(share(d[0], shift, dq, exact.dq_scale, by_keys) <= 1);
      CHECK(share(d[1], shift, dk, exact.dk_scale, by_queries) <= 1);
      CHECK(share(d[2], shift, dv, exact.dv_scale, by_queries) <= 1);
      check_lse(f[1], exact);
    }
  });
}

TEST_CASE("attention on tensor cores: values and gradients as in double with rounded factors") {
  each_problem([](const Problem& p) {
    for (const Precision precision : {Precision::tf32, Precision::bfloat16}) {
      CAPTURE(to_text(precision));
      const auto seen = [&](const Values<float>& x) { return factors(precision, x); };
      const cpu::AttentionShape& s = p.shape;
      const Exact exact(s, p.mask(p.allowed.data()), seen(p.q), seen(p.k), seen(p.v), seen(p.dy));
      const double u = weight_rounding(precision);
      const int64_t shift = s.width == 8 || s.width == 128;  // the others' tokens come in 16 bytes if they can
      const auto f = in_every_order([&] { return p.forward(precision, shift); });
      CHECK(share(f[0], shift, exact.y, exact.y_scale, exact.y_scale, u, s.keys + s.width) <= 1);
      check_lse(f[1], exact);

      // What backward is given is exact but for the rounded factors.
      const Values<float> y(std::vector<float>(exact.y.begin(), exact.y.end())),
          lse(std::vector<float>(exact.lse.begin(), exact.lse.end()));
      const auto d = in_every_order([&] { return p.backward(y, lse, precision, shift); });
      CHECK(share(d[0], shift, exact.dq, exact.dq_scale, exact.dq_mass, u, s.keys + s.width) <= 1);
      CHECK(share(d[1], shift, exact.dk, exact.dk_scale, exact.dk_mass, u, s.queries + s.width) <= 1);
      CHECK(share(d[2], shift, exact.dv, exact.dv_scale, exact.dv_scale, u, s.queries + s.width) <= 1);
    }
  });
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
  for (const Precision precision : kPrecisions) {
    CAPTURE(to_text(precision));
    Output y(count), lse(windows * heads * tokens), dq(count), dk(count), dv(count);
    cuda::attention_forward({qw.device(), kw.device(), vw.device(), y.data(), lse.data(), {}, s}, precision, nullptr);
    const cuda::AttentionBackward b{qw.device(), kw.device(), vw.device(), y.data(), lse.data(), dyw.device(),
                                    dq.data(),   dk.data(),   dv.data(),   {},       s};
    Output workspace(cuda::attention_backward_workspace(b));
    cuda::attention_backward(b, precision, workspace.data(), nullptr);
    const auto in_place = in_every_order([&] {
      std::vector<Output> out;
      for (int i = 0; i < 4; ++i) out.emplace_back(count);
      out.emplace_back(windows * heads * tokens);
      const cpu::WindowShape shape{n, h, w, c, heads, window, 0.5};
      cuda::window_attention_forward({q.device(), k.device(), v.device(), out[0].data(), out[4].data(), shape},
                                     precision, nullptr);
      const cuda::WindowAttentionBackward back{q.device(),  k.device(),    v.device(),    out[0].data(), out[4].data(),
                                               dy.device(), out[1].data(), out[2].data(), out[3].data(), shape};
      Output space(cuda::window_attention_backward_workspace(back));
      cuda::window_attention_backward(back, precision, space.data(), nullptr);
      return out;
    });
    const Output* want[] = {&y, &dq, &dk, &dv};
    for (size_t i = 0; i < 4; ++i) CHECK(cut(in_place[i].vector()) == want[i]->vector());
    CHECK(in_place[4].vector() == lse.vector());
  }
}

#if !CLEARSKY_SIMT_ASAN  // which would need half a minute
TEST_CASE("attention: more sequences than a grid has rows in its second and third dimension") {
  const WithoutLens guard;
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
  for (const Precision precision : kPrecisions) {
    CAPTURE(to_text(precision));
    Output y(8), lse(2), dq(8), dk(8), dv(8), delta(2);
    cuda::attention_forward({q.device(), k.device(), v.device(), y.data(), lse.data(), {}, s}, precision, nullptr);
    cuda::attention_backward(
        {q.device(), k.device(), v.device(), y.data(), lse.data(), dy.device(), dq.data(), dk.data(), dv.data(), {}, s},
        precision, delta.data(), nullptr);
    CHECK(lse[0] == -INFINITY);
    for (int64_t c = 0; c < 4; ++c) {
      const auto half = [&](double v0, double v1) {
        return doctest::Approx(0.5 * (rounded(precision, float(v0)) + rounded(precision, float(v1))));
      };
      CHECK(y[c] == 0);
      CHECK(dq[c] == 0);
      CHECK(y[4 + c] == half(v[size_t(c)], v[size_t(4 + c)]));
      CHECK(dv[c] == half(dy[size_t(4 + c)], 0));
      CHECK(dv[4 + c] == half(dy[size_t(4 + c)], 0));
      CHECK(std::isfinite(dk[c]));
    }
  }
}

TEST_CASE("attention: a NaN comes through, to what it takes part in") {
  std::vector<float> ones(3 * 4, 1.0f), broken = ones;
  broken[5] = std::numeric_limits<float>::quiet_NaN();  // of the second of three tokens
  const Values<float> good(ones), bad(broken);
  const cpu::AttentionShape s{1, 1, 3, 3, 4, 1, true};
  for (const Precision precision : kPrecisions) {
    CAPTURE(to_text(precision));
    Output by_query(12), by_key(12), lse(3), key_lse(3), dq(12), dk(12), dv(12), delta(3);
    cuda::attention_forward({bad.device(), good.device(), good.device(), by_query.data(), lse.data(), {}, s}, precision,
                            nullptr);
    cuda::attention_forward({good.device(), bad.device(), good.device(), by_key.data(), key_lse.data(), {}, s},
                            precision, nullptr);
    for (int64_t i = 0; i < 12; ++i) {
      CHECK(std::isnan(by_query[i]) == (i / 4 == 1));
      CHECK(std::isnan(by_key[i]) == (i / 4 >= 1));  // the first query does not look there
    }
    cuda::attention_backward({good.device(),
                              good.device(),
                              good.device(),
                              good.device(),
                              good.device(),
                              bad.device(),
                              dq.data(),
                              dk.data(),
                              dv.data(),
                              {},
                              s},
                             precision, delta.data(), nullptr);
    for (int64_t i = 0; i < 12; ++i) {
      CHECK(std::isnan(dq[i]) == (i / 4 == 1));
      CHECK(std::isnan(dk[i]) == (i / 4 <= 1));
      CHECK(std::isnan(dv[i]) == (i % 4 == 1));  // of the third key too: a weight of 0 times NaN, as on the CPU
    }
  }
}

TEST_CASE("attention: heads that no tile holds are refused") {
  CHECK_THROWS_WITH_AS(
      cuda::attention_forward({nullptr, nullptr, nullptr, nullptr, nullptr, {}, {1, 1, 1, 1, 130, 1, false}}, nullptr),
      doctest::Contains("heads of 130; a device takes 2147483392 of each, and heads of 128"), ShapeError);
}

}  // namespace
}  // namespace clearsky::test::attention_test
