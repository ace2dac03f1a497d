#include "clearsky/cuda/kernels/dice.cuh"

#include "kernels.hpp"

namespace clearsky::test::dice_test {
namespace {

struct Size {
  int64_t rows, classes;
};
// Every size of group; one row; several slots and an odd last one; rounds enough to flush; nothing.
const Size kSizes[] = {{1, 1}, {7, 3}, {300, 8}, {513, 9}, {70, 16}, {45, 17}, {300, 32}, {3, 203}, {0, 4}};
constexpr int64_t kIgnored = 200;
constexpr double kSmooth = 0.5;

template <class Label>
Values<Label> draw_labels(const Size& s) {
  std::vector<Label> labels(size_t(s.rows));
  for (size_t i = 0; i < labels.size(); ++i)
    labels[i] = i % 5 == 2 ? Label(kIgnored) : Label((i * 7 + i / 3 * 5) % size_t((std::min)(s.classes, kIgnored)));
  return labels;
}

template <class Label>
std::vector<Output> forward(const Size& s, const Values<float>& x, const Values<Label>& labels, int64_t& invalid,
                            bool with_p = true) {
  const auto run = [&] {
    std::vector<Output> o{Output(1), Output(2 * s.classes), Output(s.rows * s.classes)};
    OutputOf<int64_t> found(1);
    Output workspace(cuda::dice_forward_workspace(s.rows, s.classes));
    cuda::dice_forward<Label>({x.device(), labels.device(), o[0].data(), with_p ? o[2].data() : nullptr, o[1].data(),
                               nullptr, s.rows, s.classes, kIgnored, kSmooth},
                              workspace.data(), found.data(), nullptr);
    CHECK(workspace.sentinels_intact());
    CHECK(found.sentinels_intact());
    invalid = found[0];
    return o;
  };
  return with_p ? in_every_order(run) : run();
}

template <class Label>
void check_size(const Size& s) {
  CAPTURE(s.rows);
  CAPTURE(s.classes);
  const int64_t count = s.rows * s.classes;
  const double range = 6;
  const Values<float> x = draw(count, 1, 96, 96 + range), g = draw(1, 3);
  const Values<Label> labels = draw_labels<Label>(s);
  int64_t invalid = -2, again = -2;
  const auto out = forward(s, x, labels, invalid);
  CHECK(invalid == -1);
  const auto without_p = forward(s, x, labels, again, false);
  CHECK(without_p[0].same_bits(out[0]));
  if (count != 0) CHECK(std::isnan(without_p[2][0]));

  std::vector<float> cpu_p(x.size()), cpu_slopes(size_t(2 * s.classes)), cpu_dx(x.size());
  float cpu_loss = 0;
  int64_t cpu_invalid = 0;
  cpu::dice_forward<float, Label>({x.data(), labels.data(), &cpu_loss, cpu_p.data(), cpu_slopes.data(), &cpu_invalid,
                                   s.rows, s.classes, kIgnored, kSmooth});
  const Values<float> p(cpu_p), slopes(cpu_slopes);  // the backward's inputs
  const auto dx = in_every_order([&] {
    std::vector<Output> o{Output(count)};
    cuda::dice_backward<Label>(
        {g.device(), p.device(), slopes.device(), labels.device(), o[0].data(), s.rows, s.classes, kIgnored}, nullptr);
    return o;
  });
  cpu::dice_backward<float, Label>(
      {g.data(), p.data(), slopes.data(), labels.data(), cpu_dx.data(), s.rows, s.classes, kIgnored});

  std::vector<double> both(size_t(s.classes), 0.), share(both), target(both);
  Worst worst, cpu;
  // x - m is exact, so that e^(x - m) carries up to range u; so do the sums of its shares.
  const double allowed_share = (1 + range) * allowed_error(kRoundFloat, kRoundFloat, double(s.classes), 1);
  for (int64_t r = 0; r < s.rows; ++r) {
    const int64_t label = int64_t(labels[size_t(r)]);
    double sum = 0, products = 0, scale = 0;
    for (int64_t k = 0; k < s.classes; ++k) {
      const int64_t at = r * s.classes + k;
      sum += std::exp(double(x[size_t(at)]) - 100);
      const double slope = slopes[size_t(s.classes + k)] - (k == label ? double(slopes[size_t(k)]) : 0);
      products += p[size_t(at)] * slope, scale += p[size_t(at)] * std::abs(slope);
    }
    for (int64_t k = 0; k < s.classes; ++k) {
      const int64_t at = r * s.classes + k;
      const double q = label == kIgnored ? 0 : std::exp(double(x[size_t(at)]) - 100) / sum;
      worst.add(out[2][at], q, allowed_share * q);
      cpu.add(out[2][at], p[size_t(at)], 2 * allowed_share * q);
      if (label == kIgnored) {  // a class of its own where there are more than 200
        CHECK(dx[0][at] == 0);
        continue;
      }
      share[size_t(k)] += q;
      if (k == label) both[size_t(k)] += q, target[size_t(k)] += 1;
      const double slope = slopes[size_t(s.classes + k)] - (k == label ? double(slopes[size_t(k)]) : 0);
      const double size = slopes[size_t(s.classes + k)] + (k == label ? double(slopes[size_t(k)]) : 0);
      const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(s.classes) + 2,
                                           std::abs(g[0]) * p[size_t(at)] * (size + scale));
      worst.add(dx[0][at], g[0] * p[size_t(at)] * (slope - products), allowed);
      cpu.add(dx[0][at], cpu_dx[size_t(at)], 2 * allowed);
    }
  }
  double mean = 0;
  for (int64_t k = 0; k < s.classes; ++k) {
    const auto c = size_t(k);
    const double bottom = share[c] + target[c] + kSmooth, top = 2 * both[c] + kSmooth, n = double(s.classes);
    mean += top / bottom / n;
    // A share of top and of bottom each: positive terms, so no sum is worse than its terms.
    const double a = 2 / (n * bottom), b = top / (n * bottom * bottom);
    worst.add(out[1][k], a, 2 * allowed_share * a);
    worst.add(out[1][s.classes + k], b, 3 * allowed_share * b);
    cpu.add(out[1][k], cpu_slopes[c], 4 * allowed_share * a);
    cpu.add(out[1][s.classes + k], cpu_slopes[size_t(s.classes) + c], 6 * allowed_share * b);
  }
  worst.add(out[0][0], 1 - mean, 2 * allowed_share);
  cpu.add(out[0][0], cpu_loss, 4 * allowed_share);
  CHECK(worst.share() <= 1);
  CHECK(cpu.share() <= 1);
}

TEST_CASE("dice loss: loss, shares, slopes and gradient as in double and on the CPU") {
  for (const Size& s : kSizes) {
    check_size<uint8_t>(s);
    check_size<int64_t>(s);
  }
}

TEST_CASE("dice loss: the first label that is no class is reported, and gets no gradient") {
  std::vector<int64_t> drawn(600, 2);
  drawn[300] = 7, drawn[301] = -3;
  const Values<int64_t> labels(drawn);
  const Values<float> x = draw(1800, 1), slopes = draw(6, 2), g = draw(1, 3);
  int64_t invalid = -2;
  const auto out = forward(Size{600, 3}, x, labels, invalid);
  CHECK(invalid == 300);
  CHECK(out[2][900] == 0);
  Output dx(1800);
  cuda::dice_backward<int64_t>({g.device(), x.device(), slopes.device(), labels.device(), dx.data(), 600, 3, kIgnored},
                               nullptr);
  CHECK(dx[900] == 0);
  CHECK(dx[905] == 0);
  CHECK(dx[897] != 0);
}

TEST_CASE("dice loss: a NaN is not swallowed") {
  std::vector<float> scores(6, 0.5f);
  scores[4] = std::numeric_limits<float>::quiet_NaN();
  int64_t invalid = -2;
  const auto out = forward(Size{2, 3}, Values<float>(scores), Values<int64_t>(std::vector<int64_t>{0, 1}), invalid);
  CHECK(std::isnan(out[0][0]));
  CHECK(std::isnan(out[2][5]));
  CHECK(!std::isnan(out[2][2]));
}

TEST_CASE("dice loss: more classes than the kernel takes are refused") {
  CHECK_THROWS_WITH_AS(
      cuda::dice_backward<uint8_t>({nullptr, nullptr, nullptr, nullptr, nullptr, 1, 257, 255}, nullptr),
      doctest::Contains("dice_backward: 257 classes, the kernel takes at most 256; move the scores to the CPU"),
      ShapeError);
}

}  // namespace
}  // namespace clearsky::test::dice_test
