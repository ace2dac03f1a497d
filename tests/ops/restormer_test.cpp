#include "clearsky/ops/restormer.hpp"

#include "../op_spec.hpp"
#include "clearsky/ops/channel_attention.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/gate.hpp"
#include "clearsky/ops/norm.hpp"

namespace clearsky::test::restormer_test {
namespace {

/// Inputs of both: x, gamma, beta, pointwise, depthwise, then temperature and projection, or projection.
template <class T>
ExpansionWeights<T> expansion(const std::vector<Tensor<T>>& in) {
  return {in[1], in[2], in[3], in[4]};
}
template <class T>
Tensor<T> expand(const std::vector<Tensor<T>>& in) {
  const Tensor<T> u = conv2d(layer_norm(in[0], in[1], in[2]), in[3]);
  return conv2d(u, in[4], {}, {.padding = 1, .groups = u.size(3)});
}
template <class T>
Tensor<T> composed_attention(const std::vector<Tensor<T>>& in) {
  return in[0] + conv2d(channel_attention_qkv(expand(in), in[5]), in[6]);
}
template <class T>
Tensor<T> composed_feed_forward(const std::vector<Tensor<T>>& in) {
  return in[0] + conv2d(gelu_gate(expand(in)), in[5]);
}

/// The sizes of what is rounded on the way to z: every product by its absolute value.
Tensor<double> expanded_size(const Inputs& in) {
  const Tensor<double>& x = in[0];
  const Tensor<double> m = mean(x, {-1}, KeepDim::yes), d = x - m;
  const Tensor<double> rstd = rsqrt(mean(d * d, {-1}, KeepDim::yes) + 1e-5);
  const Tensor<double> normed = (abs(x) + abs(m)) * rstd * abs(in[1]) + abs(in[2]);
  const Tensor<double> u = conv2d(normed, abs(in[3]));
  return conv2d(u, abs(in[4]), {}, {.padding = 1, .groups = u.size(3)});
}

/// Terms: the sums of a normalisation, of the convolutions, and of what comes between, one after the other.
double terms_of(const Inputs& in, int64_t between) {
  return double(2 * in[0].size(3) + 9 + between);
}

Expected feed_forward_reference(const Inputs& in, const Attrs&) {
  Expected e;
  if (in[0].numel() == 0) return e;
  const int64_t hidden = in[5].size(3);
  const Tensor<double> z = expand(in), size = expanded_size(in);
  const Tensor<double> a = slice(z, 3, 0, hidden), b = slice(z, 3, hidden, 2 * hidden);
  const Tensor<double> a_size = slice(size, 3, 0, hidden), b_size = slice(size, 3, hidden, 2 * hidden);
  // |gelu'| is at most 1.13.
  const Tensor<double> gate = a_size * 1.13 * abs(b) + abs(gelu(a)) * b_size;
  e.values = composed_feed_forward(in).to_vector();
  e.scale = (abs(in[0]) + conv2d(gate, abs(in[5]))).to_vector();
  e.terms = terms_of(in, hidden);
  return e;
}

Expected attention_reference(const Inputs& in, const Attrs&) {
  Expected e;
  if (in[0].numel() == 0) return e;
  const int64_t channels = in[0].size(3), heads = in[5].numel(), d = channels / heads, row = 3 * channels;
  const int64_t pixels = in[0].size(1) * in[0].size(2);
  const std::vector<double> z = expand(in).to_vector(), size = expanded_size(in).to_vector();
  Tensor<double> mixed(in[0].shape());
  for (int64_t n = 0; n < in[0].size(0); ++n)
    for (int64_t h = 0; h < heads; ++h) {
      const auto at = [&](int64_t p, int64_t which, int64_t i) {
        return size_t((n * pixels + p) * row + which * channels + h * d + i);
      };
      const double t = in[5].data()[h];
      for (int64_t i = 0; i < d; ++i) {
        // Of each N_ij: its value, and the sizes of what it is rounded from, the norms' included.
        std::vector<double> a(size_t(d), 0), off(size_t(d), 0);
        double sum = 0;
        for (int64_t j = 0; j < d; ++j) {
          double dot = 0, dot_size = 0, qq = 0, kk = 0, q_size = 0, k_size = 0;
          for (int64_t p = 0; p < pixels; ++p) {
            const double q = z[at(p, 0, i)], k = z[at(p, 1, j)], sq = size[at(p, 0, i)], sk = size[at(p, 1, j)];
            dot += q * k;
            dot_size += std::fabs(q) * sk + sq * std::fabs(k);
            qq += q * q;
            kk += k * k;
            q_size += std::fabs(q) * sq;
            k_size += std::fabs(k) * sk;
          }
          const double lengths = std::sqrt(qq) * std::sqrt(kk);
          off[size_t(j)] = std::fabs(t) * (dot_size / lengths + std::fabs(dot) / lengths * (q_size / qq + k_size / kk));
          sum += a[size_t(j)] = std::exp(t * dot / lengths);
        }
        double mean_off = 0;
        for (int64_t j = 0; j < d; ++j) mean_off += a[size_t(j)] / sum * off[size_t(j)];
        for (int64_t p = 0; p < pixels; ++p) {
          double s = 0;
          for (int64_t j = 0; j < d; ++j)
            s += a[size_t(j)] / sum * (size[at(p, 2, j)] + std::fabs(z[at(p, 2, j)]) * (off[size_t(j)] + mean_off));
          mixed.mutable_data()[(n * pixels + p) * channels + h * d + i] = s;
        }
      }
    }
  e.values = composed_attention(in).to_vector();
  e.scale = (abs(in[0]) + conv2d(mixed, abs(in[6]))).to_vector();
  e.terms = terms_of(in, pixels + d + channels);
  return e;
}

Sample sample(const Shape& x, int64_t expanded, std::vector<Shape> rest, bool check) {
  const int64_t c = x[3];
  Sample s{.inputs = {x, {c}, {c}, {expanded, 1, 1, c}, {expanded, 3, 3, 1}}, .gradcheck = check, .direction = !check};
  s.inputs.insert(s.inputs.end(), rest.begin(), rest.end());
  return s;
}
Sample attention(const Shape& x, int64_t heads, bool check = false) {
  return sample(x, 3 * x[3], {{heads}, {x[3], 1, 1, x[3]}}, check);
}
Sample feed_forward(const Shape& x, int64_t hidden, bool check = false) {
  return sample(x, 2 * hidden, {{x[3], 1, 1, hidden}}, check);
}

// A gradient passes the statistics of its pixel twice, down and up; without fused multiply-adds each product on the way
// is rounded as well.
constexpr double kThroughNorm = 4;

TEST_CASE("restormer_attention") {
  run({.name = "restormer_attention",
       .reference = attention_reference,
       .samples = {attention({2, 2, 3, 4}, 2, true), attention({1, 3, 5, 3}, 3), attention({1, 1, 4, 6}, 1),
                   attention({0, 2, 2, 4}, 2), attention({2, 0, 2, 4}, 1), attention({1, 5, 1, 17}, 1),
                   attention({2, 37, 6, 8}, 2),  // several bands, of odd height
                   attention({1, 6, 19, 33}, 3)},
       .rejects = {{sample({1, 2, 2, 4}, 8, {{2}, {4, 1, 1, 4}}, false),
                    "weights pointwise (8, 1, 1, 4) and depthwise (8, 3, 3, 1) for input (1, 2, 2, 4); they must be "
                    "(12, 1, 1, 4) and (12, 3, 3, 1)"},
                   {attention({1, 2, 2, 4}, 3), "temperature (3) and projection (4, 1, 1, 4) for input (1, 2, 2, 4)"},
                   {{.inputs = {{2, 2, 4}, {4}, {4}, {12, 1, 1, 4}, {12, 3, 3, 1}, {1}, {4, 1, 1, 4}}},
                    "restormer_attention: input must be (N, H, W, C), got (2, 2, 4)"},
                   {{.inputs = {{1, 2, 2, 4}, {3}, {4}, {12, 1, 1, 4}, {12, 3, 3, 1}, {1}, {4, 1, 1, 4}}},
                    "gamma (3) and beta (4) for input (1, 2, 2, 4); both must be (4)"}},
       .twice_differentiable = false,
       .gradient_condition = kThroughNorm},
      [](const auto& in, const Attrs&) { return restormer_attention(in[0], expansion(in), in[5], in[6]); });
}

TEST_CASE("restormer_feed_forward") {
  run({.name = "restormer_feed_forward",
       .reference = feed_forward_reference,
       .samples = {feed_forward({2, 2, 3, 4}, 3, true), feed_forward({1, 3, 5, 3}, 5), feed_forward({1, 1, 4, 6}, 1),
                   feed_forward({0, 2, 2, 4}, 2), feed_forward({2, 0, 2, 4}, 1), feed_forward({1, 5, 1, 17}, 4),
                   feed_forward({2, 37, 6, 8}, 6), feed_forward({1, 6, 19, 33}, 17)},
       .rejects = {{sample({1, 2, 2, 4}, 7, {{4, 1, 1, 3}}, false), "they must be (6, 1, 1, 4) and (6, 3, 3, 1)"},
                   {sample({1, 2, 2, 4}, 6, {{3, 1, 1, 3}}, false),
                    "projection (3, 1, 1, 3) for input (1, 2, 2, 4); it must be (C, 1, 1, hidden)"}},
       .twice_differentiable = false,
       .gradient_condition = kThroughNorm},
      [](const auto& in, const Attrs&) { return restormer_feed_forward(in[0], expansion(in), in[5]); });
}

/// The fused operations and the composed ones, in double: what they keep, cut and compute again must not show.
template <class Fused, class Composed>
void compare(const Sample& s, const Fused& fused, const Composed& composed) {
  std::vector<Tensor<double>> in, other;
  for (const auto& t : detail::typed<double>(detail::draw(s))) {
    in.push_back(t.clone().set_requires_grad());
    other.push_back(t.clone().set_requires_grad());
  }
  const Tensor<double> y = fused(in), want = composed(other), g = randn<double>(y.shape(), Key{5});
  const auto same = [](const Tensor<double>& a, const Tensor<double>& b) {
    REQUIRE(a.shape() == b.shape());
    const std::vector<double> u = a.to_vector(), v = b.to_vector();
    double size = 0, off = 0;
    for (size_t i = 0; i < u.size(); ++i) {
      size = std::max(size, std::fabs(v[i]));
      off = std::max(off, std::fabs(u[i] - v[i]));
    }
    CHECK(off <= 1e-12 * size);
  };
  same(y.detach(), want.detach());
  const auto grads = grad(y, in, g), want_grads = grad(want, other, g);
  for (size_t k = 0; k < grads.size(); ++k) same(grads[k], want_grads[k]);
}

TEST_CASE("fused halves of a block against composed ones: strips, bands and steps of images of the model's sizes") {
  for (const Sample& s : {attention({1, 23, 400, 32}, 1), attention({2, 45, 36, 16}, 4), attention({3, 8, 8, 64}, 2)})
    compare(
        s, [](const auto& in) { return restormer_attention(in[0], expansion(in), in[5], in[6]); },
        composed_attention<double>);
  // The last: steps of two rows, sums over groups of four and of what is left of a band, more units than partial sums.
  for (const Sample& s : {feed_forward({1, 23, 300, 32}, 64), feed_forward({2, 45, 36, 16}, 32),
                          feed_forward({3, 8, 8, 64}, 96), feed_forward({1, 45, 20, 32}, 700)})
    compare(
        s, [](const auto& in) { return restormer_feed_forward(in[0], expansion(in), in[5]); },
        composed_feed_forward<double>);
}

TEST_CASE("fused halves of a block keep a NaN near its pixel, or in its image") {
  const auto run_both = [](int64_t broken) {
    Inputs in = detail::draw(attention({2, 12, 9, 4}, 2));
    if (broken >= 0) in[0].mutable_data()[broken] = NAN;
    const auto ff = detail::draw(feed_forward({2, 12, 9, 4}, 3));
    return std::pair(restormer_attention(in[0], expansion(in), in[5], in[6]).to_vector(),
                     restormer_feed_forward(in[0], expansion(ff), ff[5]).to_vector());
  };
  const auto [attended, fed] = run_both(-1);
  const int64_t image = 12 * 9 * 4;
  const auto [attended_nan, fed_nan] = run_both(image + (5 * 9 + 4) * 4);
  for (int64_t i = 0; i < 2 * image; ++i) {
    const int64_t row = i / 4 / 9 % 12, column = i / 4 % 9;
    const bool near = i >= image && std::abs(row - 5) <= 1 && std::abs(column - 4) <= 1;
    CHECK(std::isnan(attended_nan[size_t(i)]) == (i >= image));
    CHECK(std::isnan(fed_nan[size_t(i)]) == near);
    if (!near) CHECK(fed_nan[size_t(i)] == fed[size_t(i)]);
    if (i < image) CHECK(attended_nan[size_t(i)] == attended[size_t(i)]);
  }
}

}  // namespace
}  // namespace clearsky::test::restormer_test
