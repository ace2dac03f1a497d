#include "clearsky/cuda/kernels/cross_entropy.cuh"

#include "kernels.hpp"

namespace clearsky::test::cross_entropy_test {
namespace {

struct Case {
  int64_t rows, classes;
  double smoothing, gamma;
  bool weights;
};
// Every size of group and both sides of its limits; one row; several slots and an odd last one; nothing.
const Case kCases[] = {{1, 1, 0, 0, false},      {7, 3, 0, 0, true},     {300, 8, 0.1, 0, true}, {513, 9, 0, 2, false},
                       {70, 16, 0.25, 0, false}, {45, 17, 0, 0.5, true}, {33, 33, 0.1, 0, true}, {9, 256, 0, 2, false},
                       {5, 257, 0.1, 0, true},   {3, 512, 0, 0, false},  {0, 4, 0, 0, false}};
constexpr int64_t kIgnored = 200;

template <class Label>
Values<Label> draw_labels(const Case& c) {
  std::vector<Label> labels(size_t(c.rows));
  for (size_t i = 0; i < labels.size(); ++i)
    labels[i] = i % 5 == 2 ? Label(kIgnored) : Label((i * 7 + i / 3 * 5) % size_t((std::min)(c.classes, kIgnored)));
  return labels;
}

template <class Label>
struct Result {
  std::vector<Output> out;  // loss, scale, d
  int64_t invalid = -2;
};
template <class Label>
Result<Label> run(const Case& c, const Values<float>& x, const Values<Label>& labels, const Values<float>& weights,
                  bool with_d) {
  Result<Label> result;
  result.out = in_every_order([&] {
    std::vector<Output> o{Output(1), Output(1), Output(c.rows * c.classes)};
    OutputOf<int64_t> invalid(1);
    Output workspace(cuda::cross_entropy_workspace(c.rows));
    cuda::cross_entropy<Label>(
        {x.device(), labels.device(), c.weights ? weights.device() : nullptr, o[0].data(), o[1].data(),
         with_d ? o[2].data() : nullptr, nullptr, c.rows, c.classes, kIgnored, c.smoothing, c.gamma},
        workspace.data(), invalid.data(), nullptr);
    CHECK(workspace.sentinels_intact());
    CHECK(invalid.sentinels_intact());
    if (result.invalid != -2) CHECK(result.invalid == invalid[0]);
    result.invalid = invalid[0];
    return o;
  });
  return result;
}

template <class Label>
void check_case(const Case& c) {
  CAPTURE(c.rows);
  CAPTURE(c.classes);
  CAPTURE(c.smoothing);
  CAPTURE(c.gamma);
  const int64_t count = c.rows * c.classes;
  const double range = 8;
  const Values<float> x = draw(count, 1, 96, 96 + range), weights = draw(c.classes, 2, 0.5, 2);
  const Values<Label> labels = draw_labels<Label>(c);
  const Result<Label> got = run(c, x, labels, weights, true);
  CHECK(got.invalid == -1);
  const Result<Label> without_d = run(c, x, labels, weights, false);
  CHECK(without_d.out[0].same_bits(got.out[0]));
  if (count != 0) CHECK(std::isnan(without_d.out[2][0]));

  std::vector<float> cpu_d(x.size());
  float cpu_loss = 0, cpu_scale = 0;
  int64_t cpu_invalid = 0;
  cpu::cross_entropy<float, Label>({x.data(), labels.data(), c.weights ? weights.data() : nullptr, &cpu_loss,
                                    &cpu_scale, cpu_d.data(), &cpu_invalid, c.rows, c.classes, kIgnored, c.smoothing,
                                    c.gamma});

  const auto w = [&](int64_t k) { return c.weights ? double(weights[size_t(k)]) : 1.0; };
  double weight_total = 0, total = 0, total_scale = 0, counted = 0;
  for (int64_t k = 0; k < c.classes; ++k) weight_total += w(k);
  // x - m is exact; e^(x - m) and log of their sum carry up to range u. Focal loss multiplies by (1 - p)^gamma, whose
  // condition by log p is at most gamma, and divides by it once more in the derivative.
  const double condition = (1 + range) * (1 + c.gamma), spread = c.smoothing / double(c.classes);
  Worst worst, cpu;
  for (int64_t r = 0; r < c.rows; ++r) {
    const int64_t label = int64_t(labels[size_t(r)]);
    double sum = 0, all = 0, pull = 0;
    if (label != kIgnored) {
      for (int64_t k = 0; k < c.classes; ++k) sum += std::exp(double(x[size_t(r * c.classes + k)]) - 100);
      const auto log_p = [&](int64_t k) { return double(x[size_t(r * c.classes + k)]) - 100 - std::log(sum); };
      for (int64_t k = 0; k < c.classes; ++k) all -= w(k) * log_p(k);
      const double u = log_p(label), p = std::exp(u), power = std::pow(1 - p, c.gamma);
      const double first = (1 - c.smoothing) * w(label) * power * -u;
      pull = (1 - c.smoothing) * w(label) * power;
      if (c.gamma != 0) pull -= c.gamma * w(label) * std::pow(1 - p, c.gamma - 1) * p * u;
      if (c.classes == 1) pull = c.gamma == 0 ? pull : 0;
      total += first + spread * all, total_scale += w(label) * (-u + 1) + spread * all, counted += w(label);
    }
    for (int64_t k = 0; k < c.classes; ++k) {
      const int64_t at = r * c.classes + k;
      if (label == kIgnored) {
        CHECK(got.out[2][at] == 0);
        continue;
      }
      const double p = std::exp(double(x[size_t(at)]) - 100) / sum;
      const double pulled = pull + spread * weight_total, own = k == label ? pull : 0;
      const double allowed = condition * allowed_error(kRoundFloat, kRoundFloat, double(c.classes),
                                                       p * std::abs(pulled) + std::abs(own) + spread * w(k));
      worst.add(got.out[2][at], p * pulled - own - spread * w(k), allowed);
      // Which part of the common factor is in d is each kernel's own choice; it costs the product two more roundings.
      const double gpu_scale = double(got.out[1][0]);
      cpu.add(double(got.out[2][at]) * gpu_scale, double(cpu_d[size_t(at)]) * double(cpu_scale),
              3 * allowed * gpu_scale);
    }
  }
  const double loss = counted == 0 ? 0 : total / counted, scale = counted == 0 ? 0 : 1 / counted;
  const double allowed =
      counted == 0 ? 0 : condition * allowed_error(kRoundFloat, kRoundFloat, double(c.classes), total_scale / counted);
  worst.add(got.out[0][0], loss, allowed);
  worst.add(got.out[1][0], scale, allowed_error(kRoundFloat, kRoundFloat, 1, scale));
  cpu.add(got.out[0][0], cpu_loss, 2 * allowed);
  CHECK(worst.share() <= 1);
  CHECK(cpu.share() <= 1);
}

TEST_CASE("cross-entropy and focal loss: loss, scale and derivative as in double and on the CPU") {
  for (const Case& c : kCases) {
    check_case<uint8_t>(c);
    check_case<int64_t>(c);
  }
}

TEST_CASE("cross-entropy: the first label that is no class is reported, as on the CPU; rows without one count") {
  const Case c{600, 5, 0, 0, false};
  const Values<float> x = draw(3000, 1), none;
  for (const auto& [at, value] : std::vector<std::pair<size_t, int64_t>>{{3, 5}, {256, -1}, {599, 77}, {0, 199}}) {
    std::vector<int64_t> labels(600, 1);
    labels[at] = value;
    if (at + 32 < 600) labels[at + 32] = 99;  // where 32 rows are taken at a time, by the same thread
    labels[599] = 77;
    const Values<int64_t> given(labels);
    const auto got = run(c, x, given, none, true);
    CHECK(got.invalid == int64_t(at));
    for (int64_t k = 0; k < 5; ++k) CHECK(got.out[2][int64_t(at) * 5 + k] == 0);
    CHECK(std::isfinite(got.out[0][0]));
  }
}

TEST_CASE("cross-entropy: a NaN is not swallowed, unless its row does not count") {
  std::vector<float> scores(12, 0.5f);
  scores[4] = std::numeric_limits<float>::quiet_NaN();
  const Values<float> x(scores), none;
  const Case c{4, 3, 0, 0, false};
  const Values<int64_t> counts(std::vector<int64_t>{0, 1, 2, 0}), ignored(std::vector<int64_t>{0, kIgnored, 2, 0});
  const auto spoiled = run(c, x, counts, none, true), clean = run(c, x, ignored, none, true);
  CHECK(std::isnan(spoiled.out[0][0]));
  CHECK(std::isnan(spoiled.out[2][3]));
  CHECK(!std::isnan(spoiled.out[2][2]));
  CHECK(clean.out[0][0] == doctest::Approx(std::log(3.0)));
  CHECK(clean.out[2][3] == 0);
}

TEST_CASE("cross-entropy: more classes than the kernel takes are refused") {
  CHECK_THROWS_WITH_AS(
      cuda::cross_entropy<uint8_t>({nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 1, 513, 255, 0, 0},
                                   nullptr, nullptr, nullptr),
      doctest::Contains("cross_entropy: 513 classes, the kernel takes at most 512; move the scores to the CPU"),
      ShapeError);
}

}  // namespace
}  // namespace clearsky::test::cross_entropy_test
