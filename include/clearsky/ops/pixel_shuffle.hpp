#pragma once
// Pixel shuffle and its inverse: up- and downsampling that loses nothing, by moving channels to pixels and back.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/pixel_shuffle.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::PixelShuffle<T>> pixel_shuffle_kernel{"pixel_shuffle", cpu::pixel_shuffle<T>};
template <class T>
inline Kernel<cpu::PixelShuffle<T>> pixel_unshuffle_kernel{"pixel_unshuffle", cpu::pixel_unshuffle<T>};

// Each is a permutation of the elements, so its inverse is its transpose and so its gradient.

template <class T>
struct PixelUnshuffleOp;

template <class T>
struct PixelShuffleOp {
  static constexpr const char* kName = "pixel_shuffle";
  int64_t factor;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const int64_t n = x.size(0), h = x.size(1), w = x.size(2), c = x.size(3) / (factor * factor);
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y({n, h * factor, w * factor, c}, x.device());
    pixel_shuffle_kernel<T>(x.device(), {dense.data(), y.mutable_data(), n, h, w, c, factor});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(PixelUnshuffleOp<T>{factor}, g)}; }
};

template <class T>
struct PixelUnshuffleOp {
  static constexpr const char* kName = "pixel_unshuffle";
  int64_t factor;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const int64_t n = x.size(0), h = x.size(1) / factor, w = x.size(2) / factor, c = x.size(3);
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y({n, h, w, c * factor * factor}, x.device());
    pixel_unshuffle_kernel<T>(x.device(), {dense.data(), y.mutable_data(), n, h, w, c, factor});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(PixelShuffleOp<T>{factor}, g)}; }
};

}  // namespace detail

/// Moves groups of r r channels to blocks of r x r pixels.
///
///     y[n, h r + i, w r + j, c] = x[n, h, w, c r r + i r + j]
///
/// @param x       (N, H, W, C r r)
/// @param factor  r, at least 1
/// @return        (N, H r, W r, C)
/// @throws        ShapeError when x has another rank, or its channels are no multiple of r r
/// @source        Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
///                Convolutional Neural Network", CVPR 2016, eq. 4
template <class T>
Tensor<T> pixel_shuffle(const Tensor<T>& x, int64_t factor) {
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, "pixel_shuffle: input must be (N, H, W, C), got ", x.shape());
  CLEARSKY_CHECK(ValueError, factor >= 1, "pixel_shuffle: factor ", factor, "; use at least 1");
  CLEARSKY_CHECK(ShapeError, x.size(3) % (factor * factor) == 0, "pixel_shuffle: input ", x.shape(), " has ", x.size(3),
                 " channels, no multiple of factor^2 = ", factor * factor);
  return detail::apply_view(detail::PixelShuffleOp<T>{factor}, x);
}

/// The inverse of pixel_shuffle: moves blocks of r x r pixels to groups of r r channels.
///
/// @param x       (N, H, W, C); H and W multiples of r
/// @param factor  r, at least 1
/// @return        (N, H / r, W / r, C r r)
/// @throws        ShapeError when x has another rank, or a side is no multiple of r
template <class T>
Tensor<T> pixel_unshuffle(const Tensor<T>& x, int64_t factor) {
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, "pixel_unshuffle: input must be (N, H, W, C), got ", x.shape());
  CLEARSKY_CHECK(ValueError, factor >= 1, "pixel_unshuffle: factor ", factor, "; use at least 1");
  CLEARSKY_CHECK(ShapeError, x.size(1) % factor == 0 && x.size(2) % factor == 0, "pixel_unshuffle: input ", x.shape(),
                 " has height ", x.size(1), " and width ", x.size(2), "; both must be multiples of the factor ",
                 factor);
  return detail::apply_view(detail::PixelUnshuffleOp<T>{factor}, x);
}

CLEARSKY_COMPILE_ONCE(pixel_shuffle)
CLEARSKY_COMPILE_ONCE(pixel_unshuffle)

}  // namespace clearsky
