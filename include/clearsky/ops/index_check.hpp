#pragma once
// Checks of tensors whose elements are positions or labels.

#include "clearsky/core/tensor.hpp"

namespace clearsky::detail {

/// The index of element i, counted in row-major order: for messages.
inline Shape index_of_element(const Shape& shape, int64_t i) {
  Shape at = shape;
  for (size_t d = at.size(); d-- > 0; i /= shape[d]) at[d] = i % shape[d];
  return at;
}

/// Every element is one of `size` positions. @throws ValueError that names the first which is none
/// @param of  what is counted, in the plural
template <class Index>
void check_indices(const char* op, const Tensor<Index>& index, int64_t size, const char* of) {
  if (index.device() != Device::cpu) return check_indices(op, copy_on(index, Device::cpu), size, of);
  const Index* p = index.data();
  for (int64_t i = 0; i < index.numel(); ++i)
    CLEARSKY_CHECK(ValueError, 0 <= int64_t(p[i]) && int64_t(p[i]) < size, op, ": index ", int64_t(p[i]), " at ",
                   index_of_element(index.shape(), i), " is none of the ", size, " ", of, " 0 to ", size - 1);
}

}  // namespace clearsky::detail
