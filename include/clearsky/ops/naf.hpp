#pragma once
// NAFNet's block as one operation, on the CPU: put together from convolutions, norms and gates it keeps twelve feature
// maps for backward, this one keeps two, or six where there are many channels.

#include <array>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/naf_block.hpp"
#include "clearsky/ops/restormer.hpp"

namespace clearsky {

/// The weights of a NAFNet block; no biases.
template <class T>
struct NafWeights {
  ExpansionWeights<T> expansion;  ///< of the first half: E = 2 C
  Tensor<T> attention;            ///< (C, 1, 1, C)    from the mean over the image to the channels' factors
  Tensor<T> project1;             ///< (C, 1, 1, C)
  Tensor<T> scale1;               ///< (C)             of what the first half adds: beta in the paper
  Tensor<T> gamma2, beta2;        ///< (C)             of the second half's norm
  Tensor<T> expand2;              ///< (2 C, 1, 1, C)
  Tensor<T> project2;             ///< (C, 1, 1, C)
  Tensor<T> scale2;               ///< (C)             of what the second half adds: gamma in the paper
  double eps2 = 1e-5;
};

namespace detail {

template <class T>
inline Kernel<cpu::NafBlockForward<T>> naf_block_forward{"naf_block_forward", cpu::naf_block_forward<T>};
template <class T>
inline Kernel<cpu::NafBlockBackward<T>> naf_block_backward{"naf_block_backward", cpu::naf_block_backward<T>};

template <class T>
struct NafBlockOp {
  static constexpr const char* kName = "naf_block";
  static constexpr bool kTwiceDifferentiable = false;
  /// x and the expansion's, then attention, project1, scale1, gamma2, beta2, expand2, project2, scale2.
  static constexpr size_t kInputs = 13;
  /// Channels from which on the expanded maps are kept: below, reading them takes as long as computing them again, and
  /// there the maps are the model's largest.
  static constexpr int64_t kLeastKept = 64;
  T eps, eps2;

  cpu::NafParameters<T> parameters(const std::array<Tensor<T>, kInputs>& in) const {
    return {expansion_of<T>({in[0], in[1], in[2], in[3], in[4]}, eps),
            in[5].data(),
            in[6].data(),
            in[7].data(),
            in[8].data(),
            in[9].data(),
            in[10].data(),
            in[11].data(),
            in[12].data(),
            eps2};
  }
  Tensor<T> forward(Saved<T>& saved, std::span<const Tensor<T>> inputs) const {
    std::array<Tensor<T>, kInputs> in;
    for (size_t i = 0; i < kInputs; ++i) saved.keep(in[i] = contiguous(inputs[i]));
    const Shape& shape = in[0].shape();
    const Device device = in[0].device();
    Tensor<T> t(shape, device), state({2, shape[0], shape[3]}, device), z(shape, device);
    Tensor<T> u, y, v;
    if (saved.recording()) {
      y = Tensor<T>(shape, device);
      if (shape[3] >= kLeastKept) {
        const Shape twice{shape[0], shape[1], shape[2], 2 * shape[3]};
        u = Tensor<T>(twice, device);
        v = Tensor<T>(twice, device);
      }
    }
    naf_block_forward<T>(device, {parameters(in),
                                  {u.mutable_data(), y.mutable_data(), v.mutable_data()},
                                  t.mutable_data(),
                                  state.mutable_data(),
                                  z.mutable_data()});
    for (const Tensor<T>& kept : {t, state, u, y, v}) saved.keep(kept);
    return z;
  }
  std::array<Tensor<T>, kInputs> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    std::array<Tensor<T>, kInputs> in, grads;
    for (size_t i = 0; i < kInputs; ++i) in[i] = saved[i];
    const Tensor<T> t = saved[kInputs], state = saved[kInputs + 1], dz = contiguous(g);
    const cpu::NafKept<const T> kept{saved[kInputs + 2].data(), saved[kInputs + 3].data(), saved[kInputs + 4].data()};
    for (size_t i = 0; i < kInputs; ++i)
      if (i == 0 || saved.needs(i)) grads[i] = Tensor<T>(in[i].shape(), dz.device());
    const auto to = [&](size_t i) { return grads[i].mutable_data(); };
    naf_block_backward<T>(dz.device(), {parameters(in),
                                        kept,
                                        t.data(),
                                        state.data(),
                                        dz.data(),
                                        to(0),
                                        {to(1), to(2), to(3), to(4)},
                                        to(5),
                                        to(6),
                                        to(7),
                                        to(8),
                                        to(9),
                                        to(10),
                                        to(11),
                                        to(12)});
    return grads;
  }
};

}  // namespace detail

/// NAFNet's block:
///
///     t = SG(DW3x3(Conv1x1_{C -> 2C}(LN(x))))        y = x + scale1 Conv1x1(t Conv1x1_attention(mean of t))
///     z = y + scale2 Conv1x1(SG(Conv1x1_{C -> 2C}(LN(y))))
///
/// SG multiplies the halves of the channels; the mean is over an image's pixels. The values of layer_norm, conv2d,
/// simple_gate, global_avg_pool, * and + one after the other, but for rounding: the factors of the channels are
/// multiplied into the projections' weights. CPU only.
///
/// @param x  (N, H, W, C)
/// @return   (N, H, W, C)
/// @throws   ShapeError when the sizes do not fit
/// @source   Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, arXiv:2204.04676, Figure 3 c, eq. 4 and
/// 6
template <class T>
Tensor<T> naf_block(const Tensor<T>& x, const NafWeights<T>& w) {
  detail::check_expansion("naf_block", x, w.expansion, x.rank() == 4 ? 2 * x.size(3) : 0);
  const int64_t channels = x.size(3);
  const Shape square{channels, 1, 1, channels}, twice{2 * channels, 1, 1, channels}, vector{channels};
  CLEARSKY_CHECK(ShapeError,
                 w.attention.shape() == square && w.project1.shape() == square && w.project2.shape() == square &&
                     w.expand2.shape() == twice,
                 "naf_block: weights attention ", w.attention.shape(), ", project1 ", w.project1.shape(), ", project2 ",
                 w.project2.shape(), " and expand2 ", w.expand2.shape(), " for input ", x.shape(), "; they must be ",
                 square, ", and expand2 ", twice);
  CLEARSKY_CHECK(ShapeError,
                 w.scale1.shape() == vector && w.scale2.shape() == vector && w.gamma2.shape() == vector &&
                     w.beta2.shape() == vector,
                 "naf_block: scale1 ", w.scale1.shape(), ", scale2 ", w.scale2.shape(), ", gamma2 ", w.gamma2.shape(),
                 " and beta2 ", w.beta2.shape(), " for input ", x.shape(), "; they must be ", vector);
  const Tensor<T> inputs[] = {x,
                              w.expansion.gamma,
                              w.expansion.beta,
                              w.expansion.pointwise,
                              w.expansion.depthwise,
                              w.attention,
                              w.project1,
                              w.scale1,
                              w.gamma2,
                              w.beta2,
                              w.expand2,
                              w.project2,
                              w.scale2};
  return apply_list(detail::NafBlockOp<T>{T(w.expansion.eps), T(w.eps2)}, std::span<const Tensor<T>>(inputs));
}

CLEARSKY_COMPILE_ONCE(naf_block)

}  // namespace clearsky
