#pragma once
// Shape: the sizes of a tensor's dimensions, without a heap allocation.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "clearsky/core/error.hpp"

namespace clearsky {

/// The most dimensions a tensor can have.
inline constexpr int64_t kMaxRank = 8;

/// Up to kMaxRank sizes (or strides, or dimension numbers), kept in place.
///
/// A class of its own and not an alias of a vector: making one never allocates, and its to_text() is found
/// from inside a failing check.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes) : rank_(int64_t(sizes.size())) {
    CLEARSKY_CHECK(ShapeError, rank_ <= kMaxRank, "Shape: ", rank_, " dimensions; at most ", kMaxRank,
                   " are supported");
    // Element by element: of a whole copy of {2, 2, 2, 0} over the zeros, g++ 12 with AVX-512 made (2, 2, 2, 2).
    for (size_t d = 0; d < size_t(kMaxRank); ++d) sizes_[d] = d < sizes.size() ? sizes[d] : 0;
  }
  /// `rank` times the same value.
  static Shape filled(int64_t rank, int64_t value) {
    CLEARSKY_CHECK(ShapeError, 0 <= rank && rank <= kMaxRank, "Shape: ", rank, " dimensions; at most ", kMaxRank,
                   " are supported");
    Shape s;
    s.rank_ = rank;
    std::fill_n(s.sizes_, rank, value);
    return s;
  }

  size_t size() const { return size_t(rank_); }
  int64_t rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  int64_t& operator[](size_t d) { return sizes_[d]; }
  int64_t operator[](size_t d) const { return sizes_[d]; }
  int64_t back() const { return sizes_[rank_ - 1]; }
  int64_t* begin() { return sizes_; }
  int64_t* end() { return sizes_ + rank_; }
  const int64_t* begin() const { return sizes_; }
  const int64_t* end() const { return sizes_ + rank_; }

  void push_back(int64_t value) {
    CLEARSKY_CHECK(ShapeError, rank_ < kMaxRank, "Shape: at most ", kMaxRank, " dimensions are supported");
    sizes_[rank_++] = value;
  }
  void insert(int64_t at, int64_t value) {
    push_back(value);
    std::rotate(sizes_ + at, sizes_ + rank_ - 1, sizes_ + rank_);
  }
  void erase(int64_t at) {
    std::copy(sizes_ + at + 1, sizes_ + rank_, sizes_ + at);
    --rank_;
  }

  /// The product of the sizes; 1 for a scalar's shape.
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t s : *this) n *= s;
    return n;
  }

  friend bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

 private:
  int64_t sizes_[kMaxRank] = {};
  int64_t rank_ = 0;
};

/// "(4, 128, 128, 13)"; "()" for a scalar and "(5)" for a vector.
inline std::string to_text(const Shape& s) {
  std::string text = "(";
  for (size_t d = 0; d < s.size(); ++d) text += (d ? ", " : "") + std::to_string(s[d]);
  return text + ")";
}

namespace detail {

/// Strides, in elements, of a dense row-major tensor.
inline Shape dense_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

/// `dim` counted from the front; negative counts from the back. ShapeError, with `op` in the text, when outside.
inline int64_t normal_dim(const char* op, int64_t dim, const Shape& shape) {
  const int64_t rank = shape.rank();
  CLEARSKY_CHECK(ShapeError, rank > 0, op, ": needs at least 1 dimension, got a scalar");
  CLEARSKY_CHECK(ShapeError, -rank <= dim && dim < rank, op, ": dim ", dim, " is out of range for shape ", shape,
                 "; use ", -rank, " to ", rank - 1);
  return dim < 0 ? dim + rank : dim;
}

/// The shape both broadcast to: sizes are aligned at the back and must be equal or 1.
inline Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const int64_t rank = (std::max)(a.rank(), b.rank());
  Shape out = Shape::filled(rank, 1);
  for (int64_t d = 1; d <= rank; ++d) {
    const int64_t u = d <= a.rank() ? a[size_t(a.rank() - d)] : 1;
    const int64_t v = d <= b.rank() ? b[size_t(b.rank() - d)] : 1;
    CLEARSKY_CHECK(ShapeError, u == v || u == 1 || v == 1, op, ": shapes ", a, " and ", b, " do not broadcast: sizes ",
                   u, " and ", v, " at dim ", rank - d, "; they must be equal, or one of them 1");
    out[size_t(rank - d)] = u == 1 ? v : u;
  }
  return out;
}

}  // namespace detail
}  // namespace clearsky
