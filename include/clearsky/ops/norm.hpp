#pragma once
// Normalisation layers.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/norm.hpp"
#include "clearsky/ops/inplace.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace detail {

template <class T>
inline Kernel<cpu::LayerNormForward<T>> layer_norm_forward{"layer_norm_forward", cpu::layer_norm_forward<T>};
template <class T>
inline Kernel<cpu::LayerNormBackward<T>> layer_norm_backward{"layer_norm_backward", cpu::layer_norm_backward<T>};

template <class T>
struct LayerNormOp {
  static constexpr const char* kName = "layer_norm";
  static constexpr bool kTwiceDifferentiable = false;
  T eps;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta) const {
    const Tensor<T> dense = contiguous(x), g = contiguous(gamma), b = contiguous(beta);
    const int64_t cols = x.size(-1), rows = cols == 0 ? 0 : x.numel() / cols;
    Tensor<T> y(x.shape(), x.device()), mean, rstd;
    if (saved.recording()) {
      mean = Tensor<T>({rows}, x.device());
      rstd = Tensor<T>({rows}, x.device());
    }
    layer_norm_forward<T>(x.device(), {dense.data(), g.data(), b.data(), y.mutable_data(), mean.mutable_data(),
                                       rstd.mutable_data(), rows, cols, eps});
    for (const Tensor<T>& t : {dense, g, mean, rstd}) saved.keep(t);
    return y;
  }
  Grads<T, 3> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> x = saved[0], gamma = saved[1], mean = saved[2], rstd = saved[3], dy = contiguous(g);
    Grads<T, 3> grads;
    for (size_t i = 0; i < 3; ++i)
      if (saved.needs(i)) grads[i] = Tensor<T>(i == 0 ? x.shape() : gamma.shape(), x.device());
    layer_norm_backward<T>(x.device(),
                           {x.data(), gamma.data(), mean.data(), rstd.data(), dy.data(), grads[0].mutable_data(),
                            grads[1].mutable_data(), grads[2].mutable_data(), mean.numel(), x.size(-1)});
    return grads;
  }
};

inline void check_channels(const char* op, const Shape& x, const Shape& parameter, const char* name) {
  CLEARSKY_CHECK(ShapeError, x.rank() >= 1 && parameter == Shape{x.back()}, op, ": ", name, " ", parameter,
                 " for input ", x, "; it needs one value per channel, the last dimension");
}

}  // namespace detail

/// Layer normalisation over the last dimension: each pixel's channels.
///
///     y = gamma (x - mean) / sqrt(var + eps) + beta        var divides by the number of channels
///
/// @param x            (..., C)
/// @param gamma, beta  (C)
/// @throws             ShapeError when the sizes do not fit
/// @source             Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv:1607.06450, eq. 4
template <class T>
Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps = 1e-5) {
  detail::check_channels("layer_norm", x.shape(), gamma.shape(), "gamma");
  detail::check_channels("layer_norm", x.shape(), beta.shape(), "beta");
  return apply(detail::LayerNormOp<T>{T(eps)}, x, gamma, beta);
}

/// Root-mean-square normalisation over the last dimension.
///
///     y = gamma x / sqrt(mean(x^2) + eps)
///
/// @param x      (..., C)
/// @param gamma  (C)
/// @throws       ShapeError when the sizes do not fit
/// @source       Zhang, Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467, eq. 4
template <class T>
Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<T>& gamma, double eps = 1e-5) {
  detail::check_channels("rms_norm", x.shape(), gamma.shape(), "gamma");
  return x * rsqrt(mean(square(x), {-1}, KeepDim::yes) + T(eps)) * gamma;
}

/// Group normalisation: each image's channels in `groups` groups, over height, width and the group's channels.
///
///     y = gamma (x - mean) / sqrt(var + eps) + beta
///
/// @param x            (N, H, W, C)
/// @param groups       divides C
/// @param gamma, beta  (C)
/// @throws             ShapeError when the sizes do not fit
/// @source             Wu, He, "Group Normalization", ECCV 2018, arXiv:1803.08494, eq. 7
template <class T>
Tensor<T> group_norm(const Tensor<T>& x, int64_t groups, const Tensor<T>& gamma, const Tensor<T>& beta,
                     double eps = 1e-5) {
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, "group_norm: input must be (N, H, W, C), got ", x.shape());
  detail::check_channels("group_norm", x.shape(), gamma.shape(), "gamma");
  detail::check_channels("group_norm", x.shape(), beta.shape(), "beta");
  const int64_t channels = x.size(3);
  CLEARSKY_CHECK(ShapeError, groups >= 1 && channels % groups == 0, "group_norm: ", channels,
                 " channels do not divide into ", groups, " groups");
  const Tensor<T> split = reshape(x, {x.size(0), x.size(1) * x.size(2), groups, channels / groups});
  const Tensor<T> centred = split - mean(split, {1, 3}, KeepDim::yes);
  const Tensor<T> scaled = centred * rsqrt(mean(square(centred), {1, 3}, KeepDim::yes) + T(eps));
  return reshape(scaled, x.shape()) * gamma + beta;
}

/// Batch normalisation over all dimensions but the last.
///
///     y = gamma (x - mean) / sqrt(var + eps) + beta
///
/// In training, mean and variance are the batch's own (dividing by n) and the running ones move towards them:
/// running = (1 - momentum) running + momentum batch, the variance dividing by n - 1. In evaluation the running ones
/// are used and left alone.
///
/// @param x                 (..., C)
/// @param gamma, beta       (C)
/// @param running_mean, running_var  (C)  changed in place in training
/// @throws                  ShapeError when the sizes do not fit, or training sees a single value per channel
/// @source                  Ioffe, Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167, algorithms 1 and 2
template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, Tensor<T>& running_mean,
                     Tensor<T>& running_var, bool training, double momentum = 0.1, double eps = 1e-5) {
  detail::check_channels("batch_norm", x.shape(), gamma.shape(), "gamma");
  detail::check_channels("batch_norm", x.shape(), beta.shape(), "beta");
  detail::check_channels("batch_norm", x.shape(), running_mean.shape(), "running mean");
  detail::check_channels("batch_norm", x.shape(), running_var.shape(), "running variance");
  if (!training) return (x - running_mean) * (rsqrt(running_var + T(eps)) * gamma) + beta;
  const int64_t n = x.numel() / (std::max)(x.size(-1), int64_t(1));
  CLEARSKY_CHECK(ShapeError, n > 1, "batch_norm: input ", x.shape(), " has ", n,
                 " value per channel, which has no variance; use a larger batch, or evaluation");
  Shape dims;
  for (int64_t d = 0; d + 1 < x.rank(); ++d) dims.push_back(d);
  const Tensor<T> centre = mean(x, dims, KeepDim::yes), centred = x - centre;
  const Tensor<T> variance = mean(square(centred), dims, KeepDim::yes);
  {
    const NoGrad statistics;
    const auto move = [&](Tensor<T>& running, const Tensor<T>& batch, double share) {
      copy_(running, running * T(1 - momentum) + reshape(batch, running.shape()) * T(share));
    };
    move(running_mean, centre, momentum);
    move(running_var, variance, momentum * double(n) / double(n - 1));
  }
  return centred * rsqrt(variance + T(eps)) * gamma + beta;
}

/// x divided by its Euclidean norm along a dimension.
///
///     y = x / max(|x|, eps)
///
/// @throws ShapeError when the dimension does not exist
template <class T>
Tensor<T> l2_normalise(const Tensor<T>& x, int64_t dim, double eps = 1e-12) {
  dim = detail::normal_dim("l2_normalise", dim, x.shape());
  const Tensor<T> length = norm(x, 2, {dim}, KeepDim::yes);
  return x / clamp(length, T(eps), std::numeric_limits<T>::infinity());
}

CLEARSKY_COMPILE_ONCE(layer_norm)
CLEARSKY_COMPILE_ONCE(rms_norm)
CLEARSKY_COMPILE_ONCE(group_norm)
CLEARSKY_COMPILE_ONCE(batch_norm)
CLEARSKY_COMPILE_ONCE(l2_normalise)

}  // namespace clearsky
