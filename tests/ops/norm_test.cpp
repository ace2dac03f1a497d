#include "clearsky/ops/norm.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::norm_test {
namespace {

/// Normalises every group of elements that share group(i), then applies gamma and beta of channel i % C.
///
/// Scale: an element and the mean are each rounded, which counts as (|x| + mean |x|) / deviation on the normalised
/// value; through the variance the same rounding counts once more, times the normalised value itself.
template <class Group>
Expected normalised(const Tensor<double>& x, const Tensor<double>& gamma, const Tensor<double>& beta, double eps,
                    const Group& group) {
  struct Sums {
    long double x = 0, size = 0, squares = 0, n = 0;
  };
  std::map<int64_t, Sums> sums;
  for (int64_t i = 0; i < x.numel(); ++i) {
    Sums& s = sums[group(i)];
    s.x += x.data()[i];
    s.size += std::fabs(x.data()[i]);
    s.n += 1;
  }
  for (int64_t i = 0; i < x.numel(); ++i) {
    Sums& s = sums[group(i)];
    const long double d = x.data()[i] - s.x / s.n;
    s.squares += d * d;
  }
  Expected e;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const Sums& s = sums[group(i)];
    const int64_t c = i % x.shape().back();
    const long double deviation = std::sqrt(s.squares / s.n + eps), xhat = (x.data()[i] - s.x / s.n) / deviation;
    const long double size = (std::fabs(x.data()[i]) + s.size / s.n) / deviation;
    e.values.push_back(double(gamma.data()[c] * xhat + beta.data()[c]));
    e.scale.push_back(double(std::fabs(gamma.data()[c]) * size * (1 + std::fabs(xhat)) + std::fabs(beta.data()[c])));
    e.terms = std::fmax(e.terms, double(s.n));
  }
  return e;
}

Sample sample(const Shape& x, Attrs attrs = {}, double low = -1, double high = 1, bool check = true) {
  return {.inputs = {x, {x.back()}, {x.back()}},
          .attrs = std::move(attrs),
          .low = low,
          .high = high,
          .gradcheck = check,
          .direction = !check};
}

/// Values whose mean is far larger than their spread: a variance from E[x^2] - E[x]^2 would be wrong here.
const std::vector<Sample> kFarFromZero = {sample({30, 20}, {{"groups", 1}}, 1e4, 2e4, false),
                                          sample({7, 33}, {{"groups", 1}}, 10001, 10002, false)};
/// What rounding x and its mean to float does to the normalised values that the gradients are made of, relative to
/// their size: (|x| + |mean|) / deviation = 2e4 / 0.29.
constexpr double kFarCondition = 7e4;

Expected layer_norm_reference(const Inputs& in, const Attrs& a) {
  const int64_t c = in[0].shape().back();
  return normalised(in[0], in[1], in[2], a.has("eps") ? a.at("eps") : 1e-5, [c](int64_t i) { return i / c; });
}

TEST_CASE("layer_norm") {
  const auto call = [](const auto& in, const Attrs& a) {
    return a.has("eps") ? layer_norm(in[0], in[1], in[2], a.at("eps")) : layer_norm(in[0], in[1], in[2]);
  };
  run({.name = "layer_norm",
       .reference = layer_norm_reference,
       .samples = {sample({3, 5}), sample({2, 3, 2, 17}), sample({16}), sample({4, 33}),
                   sample({7, 31}, {{"eps", 0.1}}), sample({2, 48}), sample({0, 3}), sample({3, 0}), sample({2, 0, 3}),
                   sample({700, 33}, {}, -1, 1, false),   // several blocks of rows
                   sample({3, 9000}, {}, -1, 1, false)},  // a row longer than a block
       .rejects = {{{.inputs = {{2, 3}, {2}, {3}}}, "layer_norm: gamma (2) for input (2, 3); it needs one value per"},
                   {{.inputs = {{2, 3}, {3}, {1, 3}}}, "layer_norm: beta (1, 3) for input (2, 3)"},
                   {{.inputs = {{}, {1}, {1}}}, "layer_norm: gamma (1) for input ()"}},
       .twice_differentiable = false},
      call);
  run({.name = "layer_norm, far from 0",
       .reference = layer_norm_reference,
       .samples = kFarFromZero,
       .twice_differentiable = false,
       .gradient_condition = kFarCondition},
      call);
}

TEST_CASE("layer_norm of a single channel is beta, and has no gradient") {
  Tensor<> x({3, 1}, {5, -7, 0.3f}), gamma({1}, {0.7f}), beta({1}, {0.1f});
  x.set_requires_grad();
  const Tensor<> y = layer_norm(x, gamma, beta);
  CHECK(y.detach().to_vector() == std::vector<float>{0.1f, 0.1f, 0.1f});
  sum(y * 0.3f).backward();
  // The two equal terms h - mean(h) cancel up to the rounding of h, which 1 / sqrt(eps) then magnifies.
  for (float g : x.grad().to_vector())
    CHECK(std::fabs(g) <= allowed_error(kRoundFloat, kRoundFloat, 1, 0.21 / std::sqrt(1e-5)));
}

TEST_CASE("layer_norm of equal values is beta, a NaN stays in its row, and frozen parameters get no gradient") {
  const Tensor<> gamma = full({3}, 2.0f), beta({3}, {1, 2, 3});
  CHECK(layer_norm(full({1, 3}, 7.0f), gamma, beta).to_vector() == std::vector<float>{1, 2, 3});
  const std::vector<float> y = layer_norm(Tensor<>({2, 3}, {1, NAN, 2, 4, 4, 4}), gamma, beta).to_vector();
  for (int i = 0; i < 3; ++i) {
    CHECK(std::isnan(y[size_t(i)]));
    CHECK(y[size_t(i) + 3] == float(i + 1));
  }
  Tensor<> x = randn<float>({4, 3}, Key{1}), g = gamma.clone(), b = beta.clone();
  x.set_requires_grad();
  sum(square(layer_norm(x, g, b))).backward();
  const std::vector<float> alone = x.grad().to_vector();
  CHECK(!g.grad().defined());
  Tensor<> again = x.detach().clone();
  for (Tensor<>* t : {&again, &g, &b}) t->set_requires_grad();
  sum(square(layer_norm(again, g, b))).backward();
  CHECK(again.grad().to_vector() == alone);
  CHECK(g.grad().defined());
}

TEST_CASE("rms_norm") {
  run({.name = "rms_norm",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             const int64_t c = in[0].shape().back();
             Expected e;
             e.terms = double(c);
             for (int64_t i = 0; i < in[0].numel(); ++i) {
               long double squares = 0;
               for (int64_t k = 0; k < c; ++k) {
                 const double v = in[0].data()[i / c * c + k];
                 squares += (long double)(v)*v;
               }
               e.values.push_back(double(in[0].data()[i] / std::sqrt(squares / c + a.at("eps")) * in[1].data()[i % c]));
             }
             return e;
           },
       .samples = {{.inputs = {{3, 5}, {5}}, .attrs = {{"eps", 1e-5}}},
                   {.inputs = {{2, 3, 17}, {17}}, .attrs = {{"eps", 0.1}}},
                   {.inputs = {{4, 1}, {1}}, .attrs = {{"eps", 1}}},
                   {.inputs = {{9}, {9}}, .attrs = {{"eps", 1e-5}}},
                   {.inputs = {{0, 3}, {3}}, .attrs = {{"eps", 1e-5}}},
                   {.inputs = {{300, 65}, {65}}, .attrs = {{"eps", 1e-5}}, .gradcheck = false, .direction = true},
                   {.inputs = {{3, 20}, {20}},
                    .attrs = {{"eps", 1e-5}},
                    .low = 1e4,
                    .high = 2e4,
                    .gradcheck = false,
                    .direction = true}},
       .rejects = {{{.inputs = {{2, 3}, {2}}, .attrs = {{"eps", 1e-5}}}, "rms_norm: gamma (2) for input (2, 3)"}}},
      [](const auto& in, const Attrs& a) { return rms_norm(in[0], in[1], a.at("eps")); });
}

Expected group_norm_reference(const Inputs& in, const Attrs& a) {
  const Shape s = in[0].shape();
  const int64_t groups = a.integer("groups"), image = s[1] * s[2] * s[3];
  return normalised(in[0], in[1], in[2], 1e-5,
                    [=](int64_t i) { return i / image * groups + i % s[3] / (s[3] / groups); });
}

TEST_CASE("group_norm") {
  const auto call = [](const auto& in, const Attrs& a) { return group_norm(in[0], a.integer("groups"), in[1], in[2]); };
  run({.name = "group_norm",
       .reference = group_norm_reference,
       .samples = {sample({2, 2, 3, 6}, {{"groups", 3}}), sample({1, 3, 1, 5}, {{"groups", 5}}),
                   sample({2, 1, 3, 7}, {{"groups", 1}}), sample({0, 2, 2, 4}, {{"groups", 2}}),
                   sample({1, 1, 1, 2}, {{"groups", 2}}),  // one value a group: y is beta
                   sample({2, 17, 19, 34}, {{"groups", 2}}, -1, 1, false)},
       .rejects = {{sample({1, 2, 2, 6}, {{"groups", 4}}), "group_norm: 6 channels do not divide into 4 groups"},
                   {sample({1, 2, 2, 6}, {{"groups", 0}}), "group_norm: 6 channels do not divide into 0 groups"},
                   {sample({2, 2, 6}, {{"groups", 2}}), "group_norm: input must be (N, H, W, C), got (2, 2, 6)"},
                   {{.inputs = {{1, 2, 2, 6}, {6}, {5}}, .attrs = {{"groups", 2}}},
                    "group_norm: beta (5) for input (1, 2, 2, 6)"}}},
      call);
  run({.name = "group_norm, far from 0",
       .reference = group_norm_reference,
       .samples = {sample({1, 5, 5, 8}, {{"groups", 2}}, 10001, 10002, false)},
       .gradient_condition = kFarCondition},
      call);
}

/// Running statistics that are not the batch's: mean 0.5 - c / 8, variance 0.25 + c / 4.
template <class T>
Tensor<T> start(int64_t channels, double first, double step) {
  Tensor<T> t({channels});
  for (int64_t c = 0; c < channels; ++c) t.mutable_data()[c] = T(first + step * double(c));
  return t;
}

Expected batch_norm_reference(const Inputs& in, const Attrs&) {
  const int64_t c = in[0].shape().back();
  return normalised(in[0], in[1], in[2], 1e-5, [c](int64_t i) { return i % c; });
}

TEST_CASE("batch_norm in training") {
  const auto call = [](const auto& in, const Attrs&) {
    using T = typename std::decay_t<decltype(in[0])>::value_type;
    Tensor<T> mean = start<T>(in[0].size(-1), 0.5, -0.125), variance = start<T>(in[0].size(-1), 0.25, 0.25);
    return batch_norm(in[0], in[1], in[2], mean, variance, true);
  };
  run({.name = "batch_norm",
       .reference = batch_norm_reference,
       .samples = {sample({2, 3, 2, 5}), sample({7, 17}), sample({9, 1}), sample({3, 2, 16}),
                   sample({2, 41, 31, 19}, {}, -1, 1, false)},
       .rejects = {{sample({1, 1, 1, 5}),
                    "batch_norm: input (1, 1, 1, 5) has 1 value per channel, which has no variance"},
                   {sample({0, 5}), "batch_norm: input (0, 5) has 0 value"},
                   {{.inputs = {{2, 5}, {4}, {5}}}, "batch_norm: gamma (4) for input (2, 5)"},
                   {{.inputs = {{2, 5}, {5}, {6}}}, "batch_norm: beta (6) for input (2, 5)"}}},
      call);
  run({.name = "batch_norm, far from 0",
       .reference = batch_norm_reference,
       .samples = kFarFromZero,
       .gradient_condition = kFarCondition},
      call);
}

TEST_CASE("batch_norm in evaluation uses the running statistics") {
  run({.name = "batch_norm, evaluation",
       .reference =
           [](const Inputs& in, const Attrs&) {
             const int64_t channels = in[0].shape().back();
             Expected e;
             for (int64_t i = 0; i < in[0].numel(); ++i) {
               const int64_t c = i % channels;
               const double mean = 0.5 - 0.125 * double(c), deviation = std::sqrt(0.25 + 0.25 * double(c) + 1e-5);
               const double x = in[0].data()[i], gamma = in[1].data()[c], beta = in[2].data()[c];
               e.values.push_back(gamma * (x - mean) / deviation + beta);
               e.scale.push_back(std::fabs(gamma) * (std::fabs(x) + std::fabs(mean)) / deviation + std::fabs(beta));
             }
             return e;
           },
       .samples = {sample({2, 3, 2, 5}), sample({1, 17}), sample({1}), sample({0, 5}), sample({3, 0}),
                   sample({2, 41, 31, 19}, {}, -1, 1, false), sample({3, 5}, {}, 1e4, 2e4, false)}},
      [](const auto& in, const Attrs&) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        Tensor<T> mean = start<T>(in[0].size(-1), 0.5, -0.125), variance = start<T>(in[0].size(-1), 0.25, 0.25);
        return batch_norm(in[0], in[1], in[2], mean, variance, false);
      });
}

TEST_CASE("batch_norm moves the running statistics in training alone") {
  // Channel 0 holds 1, 2, 6: mean 3, variance 14 / 2 = 7. Channel 1 holds 4, 4, 4.
  const Tensor<double> x({3, 2}, {1, 4, 2, 4, 6, 4}), gamma = ones<double>({2}), beta = zeros<double>({2});
  Tensor<double> mean({2}, {1, 2}), variance({2}, {1, 3});
  batch_norm(x, gamma, beta, mean, variance, true, 0.25);
  CHECK(mean.to_vector() == std::vector<double>{0.75 * 1 + 0.25 * 3, 0.75 * 2 + 0.25 * 4});
  CHECK(variance.data()[0] == doctest::Approx(0.75 * 1 + 0.25 * 7).epsilon(1e-15));
  CHECK(variance.data()[1] == 0.75 * 3);
  const auto before = variance.to_vector();
  batch_norm(x, gamma, beta, mean, variance, false, 0.25);
  CHECK(variance.to_vector() == before);
  CHECK(mean.to_vector() == std::vector<double>{1.5, 2.5});
  Tensor<double> wrong({3});
  CHECK_THROWS_WITH_AS(batch_norm(x, gamma, beta, wrong, variance, false),
                       doctest::Contains("batch_norm: running mean (3) for input (3, 2)"), ShapeError);
  CHECK_THROWS_WITH_AS(batch_norm(x, gamma, beta, mean, wrong, false),
                       doctest::Contains("batch_norm: running variance (3) for input (3, 2)"), ShapeError);
}

TEST_CASE("l2_normalise") {
  run({.name = "l2_normalise",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             const Shape s = in[0].shape();
             const int64_t dim = (a.integer("dim") + s.rank()) % s.rank();
             int64_t inner = 1;
             for (int64_t d = dim + 1; d < s.rank(); ++d) inner *= s[size_t(d)];
             const int64_t n = s[size_t(dim)];
             Expected e;
             e.terms = double(n);
             for (int64_t i = 0; i < in[0].numel(); ++i) {
               long double squares = 0;
               for (int64_t k = 0; k < n; ++k) {
                 const double v = in[0].data()[i - (i / inner % n - k) * inner];
                 squares += (long double)(v)*v;
               }
               e.values.push_back(double(in[0].data()[i] / std::fmax(std::sqrt(squares), 1e-12L)));
             }
             return e;
           },
       .samples = {{.inputs = {{3, 5}}, .attrs = {{"dim", 1}}},
                   {.inputs = {{3, 5}}, .attrs = {{"dim", 0}}},
                   {.inputs = {{2, 7, 3}}, .attrs = {{"dim", -2}}},
                   {.inputs = {{17}}, .attrs = {{"dim", 0}}},
                   {.inputs = {{4, 1}}, .attrs = {{"dim", 1}}, .low = 0.5},  // of a single element only the sign stays
                   {.inputs = {{0, 3}}, .attrs = {{"dim", 1}}},
                   {.inputs = {{3, 0}}, .attrs = {{"dim", 1}}},
                   {.inputs = {{3, 1000, 33}}, .attrs = {{"dim", 1}}, .gradcheck = false, .direction = true},
                   {.inputs = {{4, 9}},
                    .attrs = {{"dim", 1}},
                    .low = 1e15,
                    .high = 1e16,
                    .gradcheck = false,
                    .direction = true}},
       .rejects = {{{.inputs = {{2, 3}}, .attrs = {{"dim", 2}}},
                    "l2_normalise: dim 2 is out of range for shape (2, 3)"}}},
      [](const auto& in, const Attrs& a) { return l2_normalise(in[0], a.integer("dim")); });
}

TEST_CASE("l2_normalise of a zero vector is zero, with a finite gradient") {
  Tensor<> x({2, 2}, {0, 0, 3, 4});
  x.set_requires_grad();
  const Tensor<> y = l2_normalise(x, 1, 0.5);
  CHECK(y.detach().to_vector() == std::vector<float>{0, 0, 0.6f, 0.8f});
  sum(y * Tensor<>({2, 2}, {1, 2, 0, 0})).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{2, 4, 0, 0});  // below eps the length is eps, a constant: 1 / 0.5
  CHECK(l2_normalise(zeros({3}), 0).to_vector() == std::vector<float>{0, 0, 0});
}

}  // namespace
}  // namespace clearsky::test::norm_test
