#include "clearsky/cuda/kernels/random.cuh"

#include "kernels.hpp"

namespace clearsky::test::random_test {
namespace {

// Both halves of the seed and of the stream, which a kernel could swap or leave out.
constexpr Key kKey{0x0123456789abcdefu, 0xfedcba9876543210u};
constexpr int64_t kCount = 3 * 256 + 37;

template <class T, class Run>
std::vector<T> drawn(int64_t count, Run&& run) {
  return in_every_order([&] {
           std::vector<OutputOf<T>> out{OutputOf<T>(count)};
           run(out[0].data());
           return out;
         })[0]
      .vector();
}
std::vector<float> uniform(Key key, double low, double high, int64_t count = kCount) {
  return drawn<float>(count, [&](float* y) { cuda::rand_uniform({key, low, high, y, count}, nullptr); });
}

TEST_CASE("uniform numbers: the CPU's bits") {
  // The width is a power of two: its product is exact, so that compilers which fuse it and others agree.
  for (const auto& [low, high] : {std::pair{0.0, 1.0}, {-1.0, 1.0}, {3.0, 3.5}, {-0.7, -0.7 + 0.0}})
    for (const Key key : {kKey, Key{7}, kKey.at(3, 4)}) {
      CAPTURE(low);
      const auto got = uniform(key, low, high);
      for (int64_t i = 0; i < kCount; ++i) {
        float want = float(key.uniform(uint64_t(i), low, high));
        if (!(want < float(high)) && low < high) want = std::nextafter(float(high), float(low));
        CHECK(got[size_t(i)] == want);
      }
    }
}

TEST_CASE("uniform numbers in any range: rounded once, never the upper end") {
  const double low = -0.3, high = 1.7;
  const auto got = uniform(kKey, low, high);
  for (int64_t i = 0; i < kCount; ++i) {
    CHECK(got[size_t(i)] == float(std::fma(high - low, kKey.uniform(uint64_t(i)), low)));
    CHECK(std::abs(got[size_t(i)] - kKey.uniform(uint64_t(i), low, high)) <= allowed_error(kRoundFloat, 0, 1, 1.7));
  }
  // A range between two neighbouring floats: half of the doubles round up to its end.
  const float top = std::nextafter(1.0f, 2.0f);
  int64_t at_low = 0;
  for (float v : uniform(kKey, 1, top)) at_low += v == 1;
  CHECK(at_low == kCount);
  CHECK(uniform(kKey, 0, 1, 1)[0] == float(kKey.uniform(0)));
  CHECK(uniform(kKey, 0, 1, 0).empty());
}

TEST_CASE("normal numbers: the CPU's, but for the last bit of a logarithm and a cosine") {
  const auto got = drawn<float>(kCount, [&](float* y) { cuda::rand_normal({kKey, y, kCount}, nullptr); });
  Worst worst;
  for (int64_t i = 0; i < kCount; ++i) {
    const auto r = kKey.bits(uint64_t(i));
    const double radius = std::sqrt(-2 * std::log((double(r[0]) + 1) * 0x1p-32));
    const double want = kKey.normal(uint64_t(i));
    // Rounding to float, and an angle of up to 2 pi with the roundings of its product and of pi.
    worst.add(
        got[size_t(i)], want,
        allowed_error(kRoundFloat, 0, 1, std::abs(want)) + allowed_error(kRoundDouble, kRoundDouble, 1, 6.3 * radius));
  }
  CHECK(worst.share() <= 1);
  cuda::rand_normal({kKey, nullptr, 0}, nullptr);
}

template <class T>
void check_integers(int64_t low, int64_t high) {
  CAPTURE(low);
  CAPTURE(high);
  const auto got = drawn<T>(kCount, [&](T* y) { cuda::rand_integers<T>({kKey, low, high, y, kCount}, nullptr); });
  for (int64_t i = 0; i < kCount; ++i) CHECK(got[size_t(i)] == T(low + kKey.integer(uint64_t(i), high - low)));
}
TEST_CASE("integers: the CPU's, up to the widest range") {
  check_integers<int64_t>(-5, 6);
  check_integers<int64_t>(0, 1);
  check_integers<int64_t>(0, 0x7fffffff);  // not a power of two: the low product carries into the high one
  check_integers<int64_t>(-(int64_t(1) << 40), (int64_t(1) << 31) - (int64_t(1) << 40));
  check_integers<uint8_t>(0, 256);
  check_integers<float>(-3, 1000);
  const auto draw_from = [](int64_t low, int64_t high) {
    cuda::rand_integers<int64_t>({kKey, low, high, nullptr, 0}, nullptr);
  };
  draw_from(0, 1);  // none drawn
  CHECK_THROWS_WITH_AS(draw_from(4, 4),
                       doctest::Contains("rand_integers: the range [4, 4) is empty or has more than 2147483648"),
                       ValueError);
  CHECK_THROWS_AS(draw_from(0, (int64_t(1) << 31) + 1), ValueError);
}

TEST_CASE("dropout masks: the CPU's bits; all or none at the ends") {
  for (double p : {0.0, 0.1, 0.5, 1.0}) {
    CAPTURE(p);
    const auto got = drawn<float>(kCount, [&](float* y) { cuda::dropout_mask({kKey, p, y, kCount}, nullptr); });
    const float kept = p < 1 ? float(1 / (1 - p)) : 0.0f;
    int64_t zeros = 0;
    for (int64_t i = 0; i < kCount; ++i) {
      CHECK(got[size_t(i)] == (kKey.uniform(uint64_t(i)) < p ? 0.0f : kept));
      zeros += got[size_t(i)] == 0;
    }
    if (p == 0) CHECK(zeros == 0);
    if (p == 1) CHECK(zeros == kCount);
  }
  CHECK_THROWS_WITH_AS(cuda::dropout_mask({kKey, 1.5, nullptr, 0}, nullptr),
                       doctest::Contains("dropout_mask: drop probability 1.5; use 0 to 1"), ValueError);
}

}  // namespace
}  // namespace clearsky::test::random_test
