#include "clearsky/cuda/kernels/copy.cuh"

#include "kernels.hpp"

namespace clearsky::test::copy_test {
namespace {

template <class T>
std::vector<T> numbers(int64_t count) {
  std::vector<T> v(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    v[size_t(i)] = convert_element<T>(float(i % 251) * (sizeof(T) == 1 ? 1.f : 0.37f));
  return v;
}

/// `span` elements of x are copied to `span_y` elements of y, as on the CPU: nothing is rounded differently.
template <class From, class To>
void check(const Shape& shape, const Shape& x_strides, const Shape& y_strides, int64_t shift = 0) {
  CAPTURE(shift);
  const auto span = [&](const Shape& strides) {
    int64_t last = 0;
    for (size_t d = 0; d < shape.size(); ++d) last += (shape[d] - 1) * strides[d];
    return shape.numel() == 0 ? 0 : last + 1;
  };
  const std::vector<From> from = numbers<From>(span(x_strides));
  std::vector<From> shifted(size_t(shift), From{});
  shifted.insert(shifted.end(), from.begin(), from.end());
  const cuda::DeviceArray<From> device(shifted.data(), int64_t(shifted.size()));
  const auto y = in_every_order([&] {
    std::vector<OutputOf<To>> out{OutputOf<To>(span(y_strides), To{})};
    cuda::copy<From, To>({device.data() + shift, x_strides, out[0].data(), y_strides, shape}, nullptr);
    return out;
  });
  std::vector<To> want(size_t(span(y_strides)), To{});
  cpu::copy<From, To>({from.data(), x_strides, want.data(), y_strides, shape});
  CHECK((y[0].vector() == want));
}

TEST_CASE("copy: lines, tiles and anything else, as on the CPU") {
  for (int64_t shift : {0, 1}) {
    check<float, float>({1000}, {1}, {1}, shift);
    check<float, float>({33, 70}, {1, 33}, {70, 1}, shift);                           // a transpose
    check<float, float>({3, 9, 40, 5}, {1800, 1, 9, 360}, {1800, 200, 5, 1}, shift);  // of the middle dimensions
    check<float, float>({2, 40, 35}, {1400, 1, 40}, {1400, 35, 1}, shift);            // transposes, one per image
    check<float, float>({4, 10, 3}, {60, 6, 2}, {30, 3, 1}, shift);                   // every other element
    check<float, float>({7, 12}, {0, 1}, {12, 1}, shift);                             // a row again and again
    check<float, float>({5, 6}, {6, 1}, {20, 3}, shift);                              // into a part of y
  }
  check<float, float>({}, {}, {});
  check<float, float>({0, 3}, {3, 1}, {3, 1});
  check<int64_t, int64_t>({20, 31}, {1, 20}, {31, 1});
  check<uint8_t, uint8_t>({33, 65}, {1, 33}, {65, 1});
  check<uint8_t, uint8_t>({64}, {1}, {1});
}

TEST_CASE("copy: conversions round as on the CPU") {
  check<float, BFloat16>({300}, {1}, {1});
  check<float, Half>({33, 40}, {1, 33}, {40, 1});
  check<BFloat16, float>({300}, {1}, {1});
  check<Half, float>({300}, {1}, {1});
  check<int64_t, float>({300}, {1}, {1});
  check<uint8_t, float>({300}, {1}, {1});
  check<int64_t, uint8_t>({300}, {1}, {1});
  check<float, int64_t>({300}, {1}, {1});
  check<float, uint8_t>({300}, {1}, {1});
}

}  // namespace
}  // namespace clearsky::test::copy_test
