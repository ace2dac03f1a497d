#pragma once
// Layers that leave things out at random, in training only. The key is the caller's: one per layer and step, e.g.
// run_key.at(layer, step), so that a step can be repeated exactly.

#include "clearsky/nn/module.hpp"
#include "clearsky/ops/dropout.hpp"

namespace clearsky::nn {

/// Single elements become 0; the others grow so that the mean stays.
struct Dropout {
  double drop_probability;

  template <class T>
  Tensor<T> operator()(const Tensor<T>& x, Key key, Mode mode) const {
    return mode == Mode::training ? dropout(x, drop_probability, key) : x;
  }
  template <class Visit>
  void each_part(Visit&&) {}
};

/// The whole of a residual branch becomes 0, image by image; it is added to its input afterwards.
struct DropPath {
  double drop_probability;

  template <class T>
  Tensor<T> operator()(const Tensor<T>& x, Key key, Mode mode) const {
    return mode == Mode::training ? drop_path(x, drop_probability, key) : x;
  }
  template <class Visit>
  void each_part(Visit&&) {}
};

}  // namespace clearsky::nn
