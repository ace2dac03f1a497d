#include "clearsky/cuda/kernels/error_loss.cuh"

#include "kernels.hpp"

namespace clearsky::test::error_loss_test {
namespace {

struct Size {
  int64_t rows, cols;
};
// One element, odd ends of rows of four, several slots with an odd last one, weights per element, nothing.
const Size kSizes[] = {{1, 1}, {3, 5}, {7, 13}, {131, 1}, {9, 8}, {2600, 13}, {0, 3}};

struct Exact {
  double value, slope, value_scale, slope_scale;
};
/// The definitions, in double. Scales carry the condition of |d|: it is computed from rounded a and b.
Exact exact(const cuda::AbsoluteError&, double d, double size) {
  return {std::abs(d), double((d > 0) - (d < 0)), size, 1};
}
Exact exact(const cuda::SquaredError&, double d, double size) {
  return {d * d, 2 * d, 2 * std::abs(d) * size, 2 * size};
}
Exact exact(const cuda::HuberError& e, double d, double size) {
  const double delta = e.delta, a = std::abs(d);
  return {a <= delta ? d * d / 2 : delta * (a - delta / 2), a <= delta ? d : std::copysign(delta, d),
          (std::min)(a, delta) * (size + delta), (std::min)(size, delta)};
}
Exact exact(const cuda::CharbonnierError& e, double d, double size) {
  const double root = std::sqrt(d * d + double(e.eps) * e.eps);
  return {root, d / root, size + e.eps, size / root};
}

template <class E>
void check(const E& e, const Size& s, bool weighted, int64_t shift) {
  CAPTURE(s.rows);
  CAPTURE(s.cols);
  CAPTURE(weighted);
  CAPTURE(shift);
  const int64_t numel = s.rows * s.cols;
  const Values<float> a = draw(numel, 1), b = draw(numel, 2), weight = draw(s.rows, 3, 0, 2), g = draw(1, 4),
                      scale = draw(1, 5, 0.1, 1);
  const auto out = in_every_order([&] {
    std::vector<Output> o{Output(1), Output(1), Output(numel), Output(numel)};
    Output workspace(cuda::error_loss_workspace(s.rows, s.cols));
    cuda::error_loss_forward(
        cuda::ErrorLossForward<E>{e, a.device(shift), b.device(shift), weighted ? weight.device() : nullptr,
                                  o[0].data(), o[1].data(), s.rows, s.cols},
        workspace.data(), nullptr);
    CHECK(workspace.sentinels_intact());
    cuda::error_loss_backward(
        cuda::ErrorLossBackward<E>{e, a.device(shift), b.device(shift), weighted ? weight.device() : nullptr,
                                   g.device(), scale.device(), o[2].data(), o[3].data(), s.rows, s.cols},
        nullptr);
    return o;
  });
  float cpu_loss = 0, cpu_scale = 0;
  std::vector<float> cpu_da(a.size()), cpu_db(a.size());
  cpu::error_loss_forward<float, E>(
      {e, a.data(), b.data(), weighted ? weight.data() : nullptr, &cpu_loss, &cpu_scale, s.rows, s.cols});
  cpu::error_loss_backward<float, E>({e, a.data(), b.data(), weighted ? weight.data() : nullptr, g.data(), scale.data(),
                                      cpu_da.data(), cpu_db.data(), s.rows, s.cols});
  if (numel == 0) {
    CHECK(std::isnan(out[0][0]));
    CHECK(out[1][0] == cpu_scale);
    return;
  }
  double total = 0, total_scale = 0, weights = 0;
  Worst worst, cpu;
  for (int64_t i = 0; i < numel; ++i) {
    const auto at = size_t(i);
    const double w = weighted ? double(weight[size_t(i / s.cols)]) : 1;
    const double d = double(a[at]) - b[at];
    const Exact x = exact(e, d, std::abs(double(a[at])) + std::abs(b[at]));
    total += w * x.value, total_scale += w * x.value_scale;
    if (i % s.cols == 0) weights += w;
    const double factor = double(g[0]) * scale[0] * w;
    // g scale w e'(d): two roundings more than a product of two.
    const double allowed = 2 * allowed_error(kRoundFloat, kRoundFloat, 1, std::abs(factor) * x.slope_scale);
    worst.add(out[2][i], factor * x.slope, allowed);
    worst.add(out[3][i], -factor * x.slope, allowed);
    cpu.add(out[2][i], cpu_da[at], 2 * allowed);
    cpu.add(out[3][i], cpu_db[at], 2 * allowed);
  }
  const double count = weights * double(s.cols);
  const double loss_allowed = allowed_error(kRoundFloat, kRoundFloat, double(numel), total_scale / count);
  const double scale_allowed = allowed_error(kRoundFloat, kRoundFloat, double(s.rows), 1 / count);
  worst.add(out[0][0], total / count, loss_allowed);
  worst.add(out[1][0], 1 / count, scale_allowed);
  cpu.add(out[0][0], cpu_loss, 2 * loss_allowed);
  cpu.add(out[1][0], cpu_scale, 2 * scale_allowed);
  CHECK(worst.share() <= 1);
  CHECK(cpu.share() <= 1);

  Output db(numel);  // alone
  cuda::error_loss_backward(
      cuda::ErrorLossBackward<E>{e, a.device(shift), b.device(shift), weighted ? weight.device() : nullptr, g.device(),
                                 scale.device(), nullptr, db.data(), s.rows, s.cols},
      nullptr);
  CHECK(db.same_bits(out[3]));
}

TEST_CASE("error losses: loss, scale and gradients as in double and on the CPU, with weights or not, aligned or not") {
  for (const Size& s : kSizes)
    for (bool weighted : {false, true})
      for (int64_t shift : {0, 1}) {
        check(cuda::AbsoluteError{}, s, weighted, shift);
        check(cuda::SquaredError{}, s, weighted, shift);
        check(cuda::HuberError{0.3f}, s, weighted, shift);
        check(cuda::CharbonnierError{0.05f}, s, weighted, shift);
      }
}

TEST_CASE("error losses: weights of 0 give 0, equal arrays a gradient of 0, a NaN is not swallowed") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Values<float> a(std::vector<float>{1, nan, 3}), b(std::vector<float>{1, 2, 3}),
      zeros(std::vector<float>(3, 0.f)), one(std::vector<float>{1});
  const auto with = [&](auto e, const Values<float>& x, const Values<float>& w) {
    using E = decltype(e);
    std::vector<Output> o{Output(1), Output(1), Output(3)};
    Output workspace(cuda::error_loss_workspace(3, 1));
    cuda::error_loss_forward(cuda::ErrorLossForward<E>{e, x.device(), b.device(), w.size() == 0 ? nullptr : w.device(),
                                                       o[0].data(), o[1].data(), 3, 1},
                             workspace.data(), nullptr);
    cuda::error_loss_backward(cuda::ErrorLossBackward<E>{e, x.device(), b.device(), nullptr, one.device(), one.device(),
                                                         o[2].data(), nullptr, 3, 1},
                              nullptr);
    return o;
  };
  const auto every = [&](auto e) {
    const auto none = with(e, b, zeros), spoiled = with(e, a, Values<float>());
    CHECK(none[0][0] == 0);
    CHECK(none[1][0] == 0);
    CHECK(std::isnan(spoiled[0][0]));
    CHECK(spoiled[2][0] == 0);
    CHECK(std::isnan(spoiled[2][1]));
  };
  every(cuda::AbsoluteError{});
  every(cuda::SquaredError{});
  every(cuda::HuberError{1.0f});
  every(cuda::CharbonnierError{1.0f});
}

}  // namespace
}  // namespace clearsky::test::error_loss_test
