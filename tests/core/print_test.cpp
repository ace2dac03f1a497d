#include "clearsky/core/print.hpp"

#include <doctest/doctest.h>

namespace clearsky {
namespace {

TEST_CASE("to_text: nested brackets, aligned columns, dtype and shape") {
  CHECK(to_text(Tensor<>({2, 2}, {0.5, -1.25, 2, 3})) == "[[ 0.50, -1.25],\n [ 2.00,  3.00]]\nfloat32 (2, 2)");
  CHECK(to_text(Tensor<int64_t>({3}, {1, 20, -3})) == "[ 1, 20, -3]\nint64 (3)");
  CHECK(to_text(Tensor<bool>({2}, {true, false})) == "[ true, false]\nbool (2)");
  CHECK(to_text(arange<double>(3)) == "[0., 1., 2.]\nfloat64 (3)");
  CHECK(to_text(full<Half>({1}, Half(0.5f))) == "[0.5]\nfloat16 (1)");
  CHECK(to_text(arange<uint8_t>(8).view_as({2, 2, 2}, {4, 2, 1}, 0)) ==
        "[[[0, 1],\n  [2, 3]],\n\n [[4, 5],\n  [6, 7]]]\nuint8 (2, 2, 2)");
  CHECK(to_text(arange<int32_t>(6).view_as({3, 2}, {1, 3}, 0)) == "[[0, 3],\n [1, 4],\n [2, 5]]\nint32 (3, 2)");
}

TEST_CASE("to_text: at least four significant digits of every element") {
  CHECK(to_text(scalar(3.14159265)) == "3.142\nfloat32 ()");
  CHECK(to_text(Tensor<double>({2}, {0.0012345678, 12.5})) == "[ 0.001235, 12.500000]\nfloat64 (2)");
  CHECK(to_text(Tensor<double>({2}, {1.23456e-9, 1})) == "[1.235e-09, 1.000e+00]\nfloat64 (2)");
  CHECK(to_text(Tensor<double>({2}, {12345678, -1})) == "[ 1.235e+07, -1.000e+00]\nfloat64 (2)");
  CHECK(to_text(Tensor<double>({2}, {1e5, 0.25})) == "[100000.00,      0.25]\nfloat64 (2)");
}

TEST_CASE("to_text: what is not a number, not there, or empty") {
  CHECK(to_text(Tensor<double>({4}, {NAN, INFINITY, -INFINITY, 1})) == "[ nan,  inf, -inf,   1.]\nfloat64 (4)");
  CHECK(to_text(Tensor<>()) == "undefined float32");
  CHECK(to_text(Tensor<>({0, 3})) == "[]\nfloat32 (0, 3)");
  CHECK(to_text(zeros({2})) == "[0., 0.]\nfloat32 (2)");
}

TEST_CASE("to_text: long rows are folded, large tensors summarised") {
  const std::string folded = to_text(arange<int64_t>(30));
  CHECK(folded.find("24,\n 25") != folded.npos);
  CHECK(to_text(arange<int64_t>(1001)) == "[   0,    1,    2, ...,  998,  999, 1000]\nint64 (1001)");
  CHECK(to_text(arange<int64_t>(1000)).find("...") == std::string::npos);
  CHECK(to_text(arange<int64_t>(2002).view_as({1001, 2}, {2, 1}, 0)) ==
        "[[   0,    1],\n [   2,    3],\n [   4,    5],\n ...,\n [1996, 1997],\n [1998, 1999],\n [2000, 2001]]\n"
        "int64 (1001, 2)");
  // A dimension of at most six is shown whole beside one that is not.
  CHECK(to_text(zeros<int32_t>({2, 600})) == "[[0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0]]\nint32 (2, 600)");
}

}  // namespace
}  // namespace clearsky
