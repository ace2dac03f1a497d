#pragma once
// Inference eight times over: turned and mirrored in every way a square can be.

#include <array>

#include "clearsky/autograd/grad_mode.hpp"
#include "clearsky/data/augment.hpp"
#include "clearsky/ops/elementwise.hpp"
#include "clearsky/tdpcr/model.hpp"

namespace clearsky::train {

enum class SelfEnsemble { no, yes };

namespace detail {

/// @param x  (1, H, W, C), or undefined, which stays so
inline Tensor<float> mapped(const Tensor<float>& x, bool transpose, bool flip_rows, bool flip_columns) {
  if (!x.defined()) return {};
  const int64_t height = x.size(transpose ? 2 : 1), width = x.size(transpose ? 1 : 2);
  Tensor<float> out({1, height, width, x.size(3)});
  data::copy_mapped(
      contiguous(select(x, 0, 0)),
      {.height = height, .width = width, .transpose = transpose, .flip_rows = flip_rows, .flip_columns = flip_columns},
      out.mutable_data());
  return out;
}

}  // namespace detail

/// The model's outputs; with SelfEnsemble::yes their mean over the eight symmetries of the square, each turned back: a
/// network that has not learned to treat them alike errs differently in each. Costs eight times the time.
///
/// @param optical  (1, H, W, bands)
/// @param sar      (1, H, W, SAR bands), or undefined where the model reads none
/// @source  Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017,
///          sec. 3.3 ("geometric self-ensemble")
inline tdpcr::Outputs<float> restore(const tdpcr::Model<float>& model, const Tensor<float>& optical,
                                     const Tensor<float>& sar, SelfEnsemble ensemble) {
  const NoGrad guard;
  if (ensemble == SelfEnsemble::no) return model(optical, sar);
  tdpcr::Outputs<float> total;
  const auto members = [](tdpcr::Outputs<float>& o) {
    return std::array{&o.reconstruction, &o.logits, &o.reliance, &o.uncertainty};
  };
  for (int symmetry = 0; symmetry < 8; ++symmetry) {
    const bool transpose = symmetry & 1, rows = symmetry & 2, columns = symmetry & 4;
    tdpcr::Outputs<float> out =
        model(detail::mapped(optical, transpose, rows, columns), detail::mapped(sar, transpose, rows, columns));
    for (size_t k = 0; k < 4; ++k) {
      // Back: a transpose swaps which flip is which.
      const Tensor<float> back =
          detail::mapped(*members(out)[k], transpose, transpose ? columns : rows, transpose ? rows : columns);
      if (!back.defined()) continue;
      Tensor<float>& sum = *members(total)[k];
      sum = sum.defined() ? sum + back : back;
    }
  }
  for (Tensor<float>* t : members(total))
    if (t->defined()) *t = *t * 0.125f;
  return total;
}

}  // namespace clearsky::train
