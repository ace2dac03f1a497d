#include "clearsky/core/tensor.hpp"

#include <doctest/doctest.h>

#include <cmath>

namespace clearsky {
namespace {

TEST_CASE("Tensor: handles share elements, clones do not") {
  Tensor<> a({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor<> b = a, c = a.clone();  // NOLINT(performance-unnecessary-copy-initialization)
  a.mutable_data()[0] = 9;
  CHECK(b.at({0, 0}) == 9);
  CHECK(c.at({0, 0}) == 1);
  CHECK(a.storage() == b.storage());
  CHECK_FALSE(a.storage() == c.storage());
}

TEST_CASE("Tensor: what it says about itself") {
  const Tensor<double> t({2, 3, 4});
  CHECK(t.defined());
  CHECK(t.shape() == Shape{2, 3, 4});
  CHECK(t.strides() == Shape{12, 4, 1});
  CHECK(t.rank() == 3);
  CHECK(t.numel() == 24);
  CHECK(t.bytes() == 24 * 8);
  CHECK(t.size(-1) == 4);
  CHECK(t.stride(0) == 12);
  CHECK(t.dtype() == DType::f64);
  CHECK(t.device() == Device::cpu);
  CHECK(reinterpret_cast<uintptr_t>(t.data()) % 64 == 0);
  CHECK_THROWS_WITH_AS((void)t.size(3), doctest::Contains("size: dim 3 is out of range for shape (2, 3, 4)"),
                       ShapeError);
}

TEST_CASE("Tensor: undefined, scalar and empty ones") {
  const Tensor<> none;
  CHECK_FALSE(none.defined());
  CHECK(none.numel() == 0);
  CHECK(none.data() == nullptr);
  CHECK(none.mutable_data() == nullptr);
  CHECK(none.to_vector().empty());

  const Tensor<> one = scalar(2.5);
  CHECK(one.rank() == 0);
  CHECK(one.numel() == 1);
  CHECK(one.item() == 2.5f);
  CHECK(one.at({}) == 2.5f);

  const Tensor<> empty_one({0, 4});
  CHECK(empty_one.defined());
  CHECK(empty_one.numel() == 0);
  CHECK(empty_one.is_contiguous());
  CHECK(empty_one.to_vector().empty());
  CHECK(empty_one.clone().shape() == Shape{0, 4});
}

TEST_CASE("Tensor: a strided view reads, and changes, the elements it shows") {
  const Tensor<int32_t> t({3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  const Tensor<int32_t> transposed = t.view_as({4, 3}, {1, 4}, 0);
  CHECK(transposed.to_vector() == std::vector<int32_t>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  CHECK_FALSE(transposed.is_contiguous());
  CHECK(transposed.at({3, 1}) == 7);
  const Tensor<int32_t> corner = t.view_as({2, 2}, {4, 1}, 6);
  CHECK(corner.to_vector() == std::vector<int32_t>{6, 7, 10, 11});
  corner.mutable_data()[0] = -1;
  CHECK(t.at({1, 2}) == -1);
  const Tensor<int32_t> copy = transposed.clone();
  CHECK(copy.is_contiguous());
  CHECK(copy.to_vector() == transposed.to_vector());
  CHECK_THROWS_WITH_AS((void)transposed.span(), doctest::Contains("call contiguous() first"), ShapeError);
  CHECK(copy.span().size() == 12);
}

TEST_CASE("Tensor: contiguous means in row-major order, whatever the strides of sizes 1 say") {
  const Tensor<> t({2, 3});
  CHECK(t.view_as({2, 1, 3}, {3, 77, 1}, 0).is_contiguous());
  CHECK(t.view_as({1, 2}, {99, 1}, 0).is_contiguous());
  CHECK_FALSE(t.view_as({2, 2}, {3, 1}, 0).is_contiguous());
  CHECK_FALSE(t.view_as({2, 3}, {0, 1}, 0).is_contiguous());  // expanded
  CHECK(t.view_as({}, {}, 4).is_contiguous());
}

TEST_CASE("each_offset walks in row-major order") {
  const auto walk = [](const Shape& shape, const Shape& strides) {
    std::vector<int64_t> offsets;
    detail::each_offset(shape, strides, [&](int64_t o) { offsets.push_back(o); });
    return offsets;
  };
  CHECK(walk({2, 2, 2}, {1, 2, 4}) == std::vector<int64_t>{0, 4, 2, 6, 1, 5, 3, 7});
  CHECK(walk({}, {}) == std::vector<int64_t>{0});
  CHECK(walk({3, 0}, {1, 1}).empty());
  CHECK(walk({1, 1, 1, 1, 1, 1, 1, 2}, {9, 9, 9, 9, 9, 9, 9, 5}) == std::vector<int64_t>{0, 5});
}

TEST_CASE("Tensor: wrong indices, sizes and types are refused") {
  const Tensor<> t({2, 3});
  CHECK_THROWS_WITH_AS((void)t.at({1}), doctest::Contains("at: 1 indices for shape (2, 3)"), ShapeError);
  CHECK_THROWS_WITH_AS((void)t.at({1, 3}), doctest::Contains("at: index (1, 3) is outside shape (2, 3)"), ShapeError);
  CHECK_THROWS_AS((void)t.at({-1, 0}), ShapeError);
  CHECK_THROWS_WITH_AS((void)t.item(), doctest::Contains("item: shape (2, 3) has 6 elements, needs exactly 1"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(Tensor<>({2, -3}), doctest::Contains("Tensor: shape (2, -3) has a negative size"), ShapeError);
  CHECK_THROWS_WITH_AS(Tensor<>({2, 2}, {1, 2, 3}), doctest::Contains("has 4 elements, got 3 values"), ShapeError);
  CHECK_THROWS_WITH_AS(Tensor<double>::from(t), doctest::Contains("elements are float32, expected float64"),
                       DTypeError);
  CHECK(Tensor<>::from(t).storage() == t.storage());
  CHECK_FALSE(Tensor<>::from(Tensor<>()).defined());
  // 2^80 elements: the product does not fit into 64 bits, and must not wrap around to a small number.
  CHECK_THROWS_WITH_AS(Tensor<>({int64_t(1) << 40, int64_t(1) << 40}), doctest::Contains("more elements than memory"),
                       ShapeError);
  CHECK_THROWS_AS(Tensor<>({int64_t(1) << 56}), MemoryError);
}

TEST_CASE("Tensor: factories") {
  CHECK(zeros({2}).to_vector() == std::vector<float>{0, 0});
  CHECK(ones<int64_t>({2}).to_vector() == std::vector<int64_t>{1, 1});
  CHECK(full<uint8_t>({3}, 7).to_vector() == std::vector<uint8_t>{7, 7, 7});
  CHECK(full<Half>({1}, Half(0.5f)).at({0}) == Half(0.5f));
  CHECK(arange<int32_t>(4).to_vector() == std::vector<int32_t>{0, 1, 2, 3});
  CHECK(Tensor<bool>({2}, {true, false}).to_vector() == std::vector<bool>{true, false});
  CHECK(empty<double>({2, 2}).numel() == 4);
}

TEST_CASE("random tensors: the key decides, element by element") {
  const Tensor<> a = randn({5, 7}, Key{1}), b = randn({5, 7}, Key{1}), c = randn({5, 7}, Key{2});
  CHECK(a.to_vector() == b.to_vector());
  CHECK(a.to_vector() != c.to_vector());
  CHECK(randn({35}, Key{1}).to_vector() == a.to_vector());  // the shape does not matter, the position does
  CHECK(a.at({0, 3}) == float(Key{1}.normal(3)));

  // A range of one float step: rounding to nearest would give `high` half of the time.
  const double high = double(std::nextafter(1.0f, 2.0f));
  for (float v : rand({1000}, Key{3}, 1, high).to_vector()) {
    CHECK(v >= 1);
    CHECK(v < float(high));
  }
  for (int64_t v : randint({200}, Key{4}, -2, 3).to_vector()) CHECK((-2 <= v && v < 3));
  CHECK_THROWS_WITH_AS(randint({1}, Key{1}, 3, 3), doctest::Contains("randint: the range [3, 3) is empty"), ValueError);
}

TEST_CASE("a launch table without a kernel for the device says what to include") {
  struct Nothing {};
  const Kernel<Nothing> kernel("softmax_forward", [](const Nothing&) {});
  CHECK_NOTHROW(kernel(Device::cpu, {}));
  CHECK_THROWS_WITH_AS(kernel(Device::cuda, {}),
                       doctest::Contains("softmax_forward: the tensor is on cuda, for which it has no kernel"),
                       DeviceError);
}

}  // namespace
}  // namespace clearsky
