#include "clearsky/cuda/kernels/compare.cuh"

#include "kernels.hpp"

namespace clearsky::test::compare_test {
namespace {

using cuda::Comparison;

template <class T>
bool compared(Comparison c, T a, T b) {
  switch (c) {
    case Comparison::equal:
      return a == b;
    case Comparison::not_equal:
      return a != b;
    case Comparison::less:
      return a < b;
    case Comparison::less_equal:
      return a <= b;
    case Comparison::greater:
      return a > b;
    case Comparison::greater_equal:
      break;
  }
  return a >= b;
}

template <class T>
void check(const Values<T>& a, const Values<T>& b, T number) {
  const auto count = int64_t(a.size());
  for (int c = 0; c < 6; ++c)
    for (const bool with_number : {false, true}) {
      CAPTURE(c);
      CAPTURE(with_number);
      const auto comparison = Comparison(c);
      const auto out = in_every_order([&] {
        std::vector<OutputOf<uint8_t>> y{OutputOf<uint8_t>(count)};
        cuda::compare<T>({comparison, a.device(1), with_number ? nullptr : b.device(), number,
                          reinterpret_cast<bool*>(y[0].data()), count},
                         nullptr);
        return y;
      });
      for (int64_t i = 0; i < count; ++i)
        CHECK(out[0][i] == uint8_t(compared(comparison, a[size_t(i)], with_number ? number : b[size_t(i)])));
    }
}

TEST_CASE("comparisons: of floats with NaN, infinity and both zeros, and of integers") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> kinds{nan, -INFINITY, -1.5f, -0.0f, 0.0f, 2.0f, INFINITY};
  std::vector<float> a, b;
  for (int time = 0; time < 6; ++time)  // 294 pairs: more than one block
    for (float u : kinds)
      for (float v : kinds) a.push_back(u), b.push_back(v);
  check<float>(a, b, 0.0f);
  check<float>(a, b, nan);
  std::vector<int64_t> i, j;
  for (int64_t k = 0; k < 25; ++k) i.push_back((int64_t(1) << 40) + k / 5), j.push_back((int64_t(1) << 40) + k % 5);
  check<int64_t>(i, j, (int64_t(1) << 40) + 2);
  check<uint8_t>(std::vector<uint8_t>{0, 255, 7}, std::vector<uint8_t>{255, 255, 6}, uint8_t(7));
  cuda::compare<float>({Comparison::less, nullptr, nullptr, 0, nullptr, 0}, nullptr);
}

}  // namespace
}  // namespace clearsky::test::compare_test
