#include "clearsky/ops/channel_attention.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::channel_attention_test {
namespace {

using Real = long double;

/// For each image and head: q^ and k^ (rows of all pixels, of length 1), A = softmax(t q^ k^T), y = A v.
/// q, k and v are given by element: value(i) of index ((n * pixels + p) * channels + c).
///
/// Scale: the argument of the softmax is t times a sum of products that has at most the size t, and its rounding is a
/// relative error of each probability; an error in A_ij moves y_i by A_ij (v_j - y_i).
template <class Q, class K, class V>
Expected attend(const Shape& shape, const Tensor<double>& temperature, const Q& q, const K& k, const V& v) {
  const int64_t pixels = shape[1] * shape[2], channels = shape[3], heads = temperature.numel(), d = channels / heads;
  Expected e;
  e.values.resize(size_t(shape.numel()));
  e.scale.resize(size_t(shape.numel()));
  e.terms = double(std::max(pixels, d));
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t h = 0; h < heads; ++h) {
      const auto at = [&](int64_t p, int64_t c) { return (n * pixels + p) * channels + h * d + c; };
      for (int64_t i = 0; i < d; ++i) {
        std::vector<Real> probability(static_cast<size_t>(d)), size(static_cast<size_t>(d));
        Real sum = 0;
        for (int64_t j = 0; j < d; ++j) {
          Real dot = 0, absolute = 0, qq = 0, kk = 0;
          for (int64_t p = 0; p < pixels; ++p) {
            const Real a = q(at(p, i)), b = k(at(p, j));
            dot += a * b;
            absolute += std::fabs(a * b);
            qq += a * a;
            kk += b * b;
          }
          const Real lengths = std::max(std::sqrt(qq), 1e-12L) * std::max(std::sqrt(kk), 1e-12L);
          const double t = temperature.data()[h];
          sum += probability[size_t(j)] = std::exp(t * dot / lengths);
          size[size_t(j)] = std::fabs(t) * absolute / lengths;
        }
        for (int64_t p = 0; p < pixels; ++p) {
          Real y = 0, off = 0;
          for (int64_t j = 0; j < d; ++j) y += probability[size_t(j)] / sum * v(at(p, j));
          for (int64_t j = 0; j < d; ++j)
            off +=
                probability[size_t(j)] / sum * (std::fabs(v(at(p, j))) + std::fabs(v(at(p, j)) - y) * size[size_t(j)]);
          e.values[size_t(at(p, i))] = double(y);
          e.scale[size_t(at(p, i))] = double(off);
        }
      }
    }
  return e;
}

Expected qkv_reference(const Inputs& in, const Attrs&) {
  Shape shape = in[0].shape();
  const int64_t channels = shape[3] / 3;
  shape[3] = channels;
  const auto part = [&](int64_t which) {
    return [=, &in](int64_t i) { return in[0].data()[i / channels * 3 * channels + which * channels + i % channels]; };
  };
  return attend(shape, in[1], part(0), part(1), part(2));
}

Sample sample(int64_t n, int64_t h, int64_t w, int64_t c, int64_t heads, bool check = true, double size = 1) {
  return {.inputs = {{n, h, w, 3 * c}, {heads}}, .low = -size, .high = size, .gradcheck = check, .direction = !check};
}

TEST_CASE("channel_attention_qkv") {
  const auto call = [](const auto& in, const Attrs&) { return channel_attention_qkv(in[0], in[1]); };
  run({.name = "channel_attention_qkv",
       .reference = qkv_reference,
       .samples = {sample(2, 2, 3, 4, 2), sample(1, 2, 2, 3, 3),  // d = 1: y is v
                   sample(1, 2, 4, 17, 1), sample(2, 1, 3, 12, 4), sample(1, 1, 1, 6, 2), sample(0, 2, 2, 4, 2),
                   sample(2, 0, 2, 4, 2), sample(1, 2, 2, 0, 2),
                   sample(1, 16, 16, 6, 2, false),   // exactly one chunk of 256 pixels
                   sample(2, 17, 19, 10, 2, false),  // a second, shorter one
                   sample(1, 41, 29, 51, 3, false),  // several slots; d = 17
                   sample(2, 23, 23, 16, 1, false), sample(1, 9, 9, 99, 9, false),
                   sample(1, 70, 70, 6, 3, false),     // the sums of 4900 pixels
                   sample(1, 6, 5, 8, 2, false, 20)},  // temperatures up to 20: near one-hot
       .rejects = {{{.inputs = {{1, 2, 2, 8}, {1}}}, "channel_attention: qkv must be (N, H, W, 3 C), got (1, 2, 2, 8)"},
                   {{.inputs = {{2, 2, 9}, {1}}}, "channel_attention: qkv must be (N, H, W, 3 C), got (2, 2, 9)"},
                   {{.inputs = {{1, 2, 2, 12}, {3}}},
                    "channel_attention: 4 channels do not divide into heads for temperature (3)"},
                   {{.inputs = {{1, 2, 2, 12}, {0}}}, "do not divide into heads for temperature (0)"},
                   {{.inputs = {{1, 2, 2, 12}, {2, 1}}}, "do not divide into heads for temperature (2, 1)"}},
       .twice_differentiable = false},
      call);
  // The temperature's gradient is sum_ij A_ij (D_ij - sum_j A_ij D_ij) N_ij, whose bracket is 0 in the mean: here the
  // terms with their signs give 0.005, without them 2.9.
  run({.name = "channel_attention_qkv, a gradient that cancels",
       .reference = qkv_reference,
       .samples = {sample(1, 3, 1, 5, 1)},
       .twice_differentiable = false,
       .gradient_condition = 40},
      call);
}

TEST_CASE("channel_attention") {
  const auto shapes = [](int64_t n, int64_t h, int64_t w, int64_t c, int64_t heads, bool check = true) {
    const Shape x{n, h, w, c};
    return Sample{.inputs = {x, x, x, {heads}}, .gradcheck = check, .direction = !check};
  };
  run({.name = "channel_attention",
       .reference =
           [](const Inputs& in, const Attrs&) {
             const auto element = [](const Tensor<double>& x) { return [&x](int64_t i) { return x.data()[i]; }; };
             return attend(in[0].shape(), in[3], element(in[0]), element(in[1]), element(in[2]));
           },
       .samples = {shapes(2, 2, 3, 4, 2), shapes(1, 3, 1, 5, 1), shapes(0, 2, 2, 4, 2), shapes(1, 19, 17, 9, 3, false)},
       .rejects = {{{.inputs = {{1, 2, 2, 4}, {1, 2, 2, 4}, {1, 2, 2, 2}, {1}}},
                    "channel_attention: q (1, 2, 2, 4), k (1, 2, 2, 4) and v (1, 2, 2, 2) must all be one"},
                   {{.inputs = {{2, 2, 4}, {2, 2, 4}, {2, 2, 4}, {1}}}, "must all be one (N, H, W, C)"},
                   {shapes(1, 2, 2, 4, 3), "4 channels do not divide into heads for temperature (3)"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs&) { return channel_attention(in[0], in[1], in[2], in[3]); });
}

TEST_CASE("channel_attention of a channel that is 0 everywhere looks at all channels alike") {
  Tensor<double> qkv = randn<double>({1, 3, 3, 12}, Key{1}), temperature({2}, {1, 2});
  for (int64_t p = 0; p < 9; ++p) qkv.mutable_data()[p * 12] = qkv.mutable_data()[p * 12 + 5] = 0;  // q's 0, k's 1
  qkv.set_requires_grad();
  const Tensor<double> y = channel_attention_qkv(qkv, temperature);
  for (int64_t p = 0; p < 9; ++p) {
    const double* v = qkv.data() + p * 12 + 8;
    CHECK(y.data()[p * 4] == doctest::Approx((v[0] + v[1]) / 2).epsilon(1e-14));
  }
  sum(square(y)).backward();
  for (double g : qkv.grad().to_vector()) CHECK(std::isfinite(g));
}

TEST_CASE("channel_attention of rows shorter than 1e-12: their length counts as a constant") {
  // The derivative along q and along k themselves: 0 for rows that are normalised, which these are not.
  Tensor<double> q = randn<double>({1, 3, 5, 4}, Key{1}) * 1e-14, k = randn<double>({1, 3, 5, 4}, Key{2}) * 1e-14;
  const Tensor<double> v = randn<double>({1, 3, 5, 4}, Key{3}), t({1}, {1000}), w = rand<double>(v.shape(), Key{4});
  const auto value = [&](const Tensor<double>& a, const Tensor<double>& b) {
    return sum(channel_attention(a, b, v, t) * w);
  };
  const Tensor<double> plain_q = q.clone(), plain_k = k.clone();
  q.set_requires_grad();
  k.set_requires_grad();
  value(q, k).backward();
  const double h = 1e-5;
  const double along_q = (value(plain_q * (1 + h), plain_k) - value(plain_q * (1 - h), plain_k)).item() / (2 * h);
  const double along_k = (value(plain_q, plain_k * (1 + h)) - value(plain_q, plain_k * (1 - h))).item() / (2 * h);
  CHECK(std::fabs(along_q) > 1e-3);
  CHECK(sum(q.grad() * plain_q).item() == doctest::Approx(along_q).epsilon(1e-7));
  CHECK(sum(k.grad() * plain_k).item() == doctest::Approx(along_k).epsilon(1e-7));
}

TEST_CASE("channel_attention does not depend on the size of q and k, and keeps a NaN in its image and head") {
  const Tensor<> q = randn<float>({2, 5, 7, 6}, Key{1}), k = randn<float>({2, 5, 7, 6}, Key{2}),
                 v = randn<float>({2, 5, 7, 6}, Key{3}), t = ones({2});
  const std::vector<float> y = channel_attention(q, k, v, t).to_vector();
  CHECK(channel_attention(q * 1024, k * 0.125f, v, t).to_vector() == y);  // powers of two: the same bits
  Tensor<> broken = q.clone();
  broken.mutable_data()[4] = NAN;  // image 0, head 1
  const std::vector<float> z = channel_attention(broken, k, v, t).to_vector();
  for (size_t i = 0; i < z.size(); ++i) {
    if (i < 210 && i % 6 == 4) CHECK(std::isnan(z[i]));
    else CHECK(z[i] == y[i]);
  }
}

}  // namespace
}  // namespace clearsky::test::channel_attention_test
