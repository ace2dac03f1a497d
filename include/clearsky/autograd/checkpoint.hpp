#pragma once
// Activation checkpointing: forward keeps only the inputs of a part, backward computes the part again.

#include <vector>

#include "clearsky/autograd/engine.hpp"
#include "clearsky/autograd/op.hpp"

namespace clearsky {
namespace detail {

template <class T, class F>
struct CheckpointOp {
  static constexpr const char* kName = "checkpoint";
  static constexpr bool kTwiceDifferentiable = false;
  F function;

  Tensor<T> forward(Saved<T>& saved, std::span<const Tensor<T>> inputs) const {
    for (const Tensor<T>& x : inputs) saved.keep(x);
    return function(inputs);
  }
  std::vector<Tensor<T>> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const size_t count = saved.size();
    std::vector<Tensor<T>> leaves;
    for (size_t i = 0; i < count; ++i) {
      Tensor<T> x = saved[i].detach();
      if (saved.needs(i)) x.set_requires_grad();
      leaves.push_back(std::move(x));
    }
    const uint64_t first = Node::upcoming_sequence();
    Tensor<T> y;
    {
      const EnableGrad enable;
      y = function(std::span<const Tensor<T>>(leaves));
    }
    std::vector<Tensor<T>> grads(count);
    if (!y.requires_grad()) return grads;
    // What `function` holds besides its inputs, parameters above all, gets its gradient in the pass that is running.
    const std::vector<TensorBase> wanted(leaves.begin(), leaves.end());
    BackwardPass pass({.wanted = wanted, .outer = BackwardPass::current(), .first = first});
    std::vector<TensorBase> found = pass.run(y, g);
    for (size_t i = 0; i < count; ++i)
      if (found[i].defined()) grads[i] = Tensor<T>::from(std::move(found[i]));
    return grads;
  }
};

}  // namespace detail

/// function(inputs), with the memory of everything between given back and computed again in backward.
///
/// Parameters, and any other tensors, that `function` reads without taking them as inputs get their gradients too, as
/// long as one of the inputs requires one. It must give the same result twice: random numbers from explicit keys do.
///
/// @param function  copyable; from std::span<const Tensor<T>> to Tensor<T>
/// @param inputs    at least one of which requires a gradient for backward to come by
template <class T, class F>
Tensor<T> checkpoint(const F& function, const std::vector<Tensor<T>>& inputs) {
  return apply_list(detail::CheckpointOp<T, F>{function}, std::span<const Tensor<T>>(inputs));
}

}  // namespace clearsky
