#pragma once
// Gates: the channels of a pixel are split in two halves [a b] and multiplied.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/gate.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {
namespace detail {

template <class T>
inline Kernel<cpu::GateForward<T>> gelu_gate_forward{"gelu_gate_forward", cpu::gelu_gate_forward<T>};
template <class T>
inline Kernel<cpu::GateBackward<T>> gelu_gate_backward{"gelu_gate_backward", cpu::gelu_gate_backward<T>};
template <class T>
inline Kernel<cpu::GateForward<T>> simple_gate_forward{"simple_gate_forward", cpu::simple_gate_forward<T>};
template <class T>
inline Kernel<cpu::GateBackward<T>> simple_gate_backward{"simple_gate_backward", cpu::simple_gate_backward<T>};

/// Keeps its input alone; backward computes the gate's two factors again.
template <class T, bool WithGelu>
struct GateOp {
  static constexpr const char* kName = WithGelu ? "gelu_gate" : "simple_gate";
  static constexpr bool kTwiceDifferentiable = false;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    saved.keep(dense);
    Shape shape = x.shape();
    const int64_t half = shape.back() / 2;
    shape[shape.size() - 1] = half;
    Tensor<T> y(shape, x.device());
    const auto& kernel = WithGelu ? gelu_gate_forward<T> : simple_gate_forward<T>;
    kernel(x.device(), {dense.data(), y.mutable_data(), half == 0 ? 0 : y.numel() / half, half});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> x = saved[0], dy = contiguous(g);
    Tensor<T> dx(x.shape(), x.device());
    const int64_t half = x.size(-1) / 2;
    const auto& kernel = WithGelu ? gelu_gate_backward<T> : simple_gate_backward<T>;
    kernel(x.device(), {x.data(), dy.data(), dx.mutable_data(), half == 0 ? 0 : x.numel() / (2 * half), half});
    return {dx};
  }
};

template <class T>
void check_halves(const char* op, const Tensor<T>& x) {
  CLEARSKY_CHECK(ShapeError, x.rank() >= 1 && x.size(-1) % 2 == 0, op, ": the last dimension of ", x.shape(),
                 " does not split in two halves; it must be even");
}

}  // namespace detail

/// gelu(a) * b, [a b] the halves of the last dimension: the gate of Restormer's feed-forward part.
/// @param x  (..., 2 C)
/// @return   (..., C)
/// @throws   ShapeError when the last size is odd
/// @source   Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 3
template <class T>
Tensor<T> gelu_gate(const Tensor<T>& x) {
  detail::check_halves("gelu_gate", x);
  return apply(detail::GateOp<T, true>{}, x);
}

/// a * b, [a b] the halves of the last dimension.
/// @param x  (..., 2 C)
/// @return   (..., C)
/// @throws   ShapeError when the last size is odd
/// @source   Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, arXiv:2204.04676, eq. 4
template <class T>
Tensor<T> simple_gate(const Tensor<T>& x) {
  detail::check_halves("simple_gate", x);
  return apply(detail::GateOp<T, false>{}, x);
}

CLEARSKY_COMPILE_ONCE(gelu_gate)
CLEARSKY_COMPILE_ONCE(simple_gate)

}  // namespace clearsky
