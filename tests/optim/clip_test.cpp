#include "clearsky/optim/clip.hpp"

#include <doctest/doctest.h>

#include "../tolerance.hpp"

namespace clearsky::optim {
namespace {

template <class T>
std::vector<nn::NamedParameter<T>> with_gradients() {
  std::vector<nn::NamedParameter<T>> list;
  for (int64_t count : {1, 7, 64, 100, 33000}) {
    Tensor<T> p = zeros<T>({count});
    p.set_requires_grad();
    p.set_grad(randn<T>({count}, Key{uint64_t(count)}));
    list.push_back({"p" + std::to_string(count), p});
  }
  return list;
}

template <class T>
double plain_norm(const std::vector<nn::NamedParameter<T>>& list) {
  long double total = 0;
  for (const auto& p : list)
    for (const T g : p.value.grad().to_vector()) total += static_cast<long double>(g) * static_cast<long double>(g);
  return double(std::sqrt(total));
}

TEST_CASE_TEMPLATE("the norm is over all gradients, in double", T, float, double) {
  auto list = with_gradients<T>();
  const double want = plain_norm(list);
  CHECK(std::fabs(gradient_norm(list) - want) <=
        test::allowed_error(test::kRoundDouble, test::kRoundDouble, 33172, want));
  const int64_t before = threads();
  const double norm = gradient_norm(list);
  for (int64_t count : {1, 2, 3}) {
    set_threads(count);
    CHECK(gradient_norm(list) == norm);
  }
  set_threads(before);

  list[4].value.set_grad({});  // no gradient counts as 0
  list[3].value.set_requires_grad(false);
  double rest = 0;
  for (size_t i : {size_t(0), size_t(1), size_t(2)})
    rest += cpu::sum_of_squares(list[i].value.grad().data(), list[i].value.numel());
  CHECK(gradient_norm(list) == doctest::Approx(std::sqrt(rest)).epsilon(1e-14));
  CHECK(gradient_norm(std::vector<nn::NamedParameter<T>>{}) == 0);
}

TEST_CASE("large gradients do not overflow, transposed ones are read right") {
  Tensor<float> p = zeros<float>({2, 3});
  p.set_requires_grad();
  Tensor<float> wide = full<float>({3, 2}, 1e30f);
  wide.mutable_data()[1] = 0;
  p.set_grad(transpose(wide, 0, 1));
  const std::vector<nn::NamedParameter<float>> list{{"p", p}};
  CHECK(gradient_norm(list) == doctest::Approx(1e30 * std::sqrt(5.0)).epsilon(1e-6));
  clip_gradient_norm(list, 1);
  CHECK(p.grad().at({1, 0}) == 0);
  CHECK(p.grad().at({0, 1}) == doctest::Approx(1 / std::sqrt(5.0)).epsilon(1e-6));
}

TEST_CASE("clipping by norm scales all gradients alike, or leaves them") {
  const auto list = with_gradients<double>();
  const double norm = plain_norm(list);
  const std::vector<double> before = list[1].value.grad().to_vector();
  CHECK(clip_gradient_norm(list, 2 * norm) == doctest::Approx(norm));
  CHECK(list[1].value.grad().to_vector() == before);  // bit for bit: below the limit nothing is done
  CHECK(clip_gradient_norm(list, 0.5) == doctest::Approx(norm));
  CHECK(plain_norm(list) == doctest::Approx(0.5).epsilon(1e-6));
  CHECK(list[1].value.grad().data()[3] == doctest::Approx(before[3] * 0.5 / (norm + 1e-6)).epsilon(1e-14));
  CHECK(clip_factor(0, 0.5) == 1);
  CHECK(clip_factor(4, 0.5) == 0.5 / (4 + 1e-6));
  CHECK_THROWS_WITH_AS(clip_factor(1, 0), doctest::Contains("clip_factor: a largest norm of 0"), ValueError);
}

TEST_CASE("clipping by value") {
  const auto list = with_gradients<float>();
  const std::vector<float> before = list[2].value.grad().to_vector();
  clip_gradient_values(list, 0.75);
  for (size_t i = 0; i < before.size(); ++i)
    CHECK(list[2].value.grad().data()[i] == std::clamp(before[i], -0.75f, 0.75f));
  list[0].value.set_grad(full<float>({1}, NAN));
  clip_gradient_values(list, 0.75);
  CHECK(std::isnan(list[0].value.grad().data()[0]));  // a NaN is not made to look harmless
}

TEST_CASE("a gradient that is not finite is named") {
  const auto list = with_gradients<float>();
  Tensor<float> g = list[3].value.grad();
  g.mutable_data()[70] = NAN;
  g.mutable_data()[71] = -INFINITY;
  CHECK_THROWS_WITH_AS(gradient_norm(list),
                       doctest::Contains("gradient_norm: the gradient of p100 (100) has 2 elements of 100 that are NaN "
                                         "or infinite"),
                       ValueError);
}

}  // namespace
}  // namespace clearsky::optim
