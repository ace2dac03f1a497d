#pragma once
// Inference with more than one answer: by several models, and turned and mirrored in every way a square can be.

#include <array>
#include <vector>

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

/// The mean of what several models make of an image, without gradients. A plain model stands for itself alone.
/// Images come from the CPU's memory and go back there, wherever the models are.
///
/// Models of different seeds err differently where the data does not decide; the mean of their images has less error
/// than they have in the mean. With SelfEnsemble::yes each also sees the image in the eight symmetries of the square,
/// which costs eight times the time. The models must outlive this.
///
/// @source  several seeds: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
///          Ensembles", NeurIPS 2017, arXiv:1612.01474, sec. 2.4
/// @source  symmetries: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops
///          2017, sec. 3.3
class Restorer {
 public:
  Restorer(const tdpcr::Model<float>& model, SelfEnsemble self = SelfEnsemble::no) : Restorer({&model}, self) {}

  /// @throws ValueError without models, or when some have a segmentation decoder and some have none
  explicit Restorer(std::vector<const tdpcr::Model<float>*> models, SelfEnsemble self = SelfEnsemble::no)
      : models_(std::move(models)), symmetries_(self == SelfEnsemble::yes ? 8 : 1) {
    CLEARSKY_CHECK(ValueError, !models_.empty(), "Restorer: no model; pass at least one");
    for (const auto* m : models_)
      CLEARSKY_CHECK(ValueError, m->segmentation_decoder.has_value() == models_[0]->segmentation_decoder.has_value(),
                     "Restorer: some of the ", int64_t(models_.size()),
                     " models have a segmentation decoder and some have none; train all in the same phases");
  }

  /// How many answers are averaged.
  int64_t runs() const { return int64_t(models_.size()) * symmetries_; }

  /// @param optical  (1, H, W, bands)
  /// @param sar      (1, H, W, SAR bands), or undefined where the models read none
  tdpcr::Outputs<float> operator()(const Tensor<float>& optical, const Tensor<float>& sar) const {
    const NoGrad guard;
    if (runs() == 1) return answer(*models_[0], optical, sar);
    tdpcr::Outputs<float> total;
    for (int symmetry = 0; symmetry < symmetries_; ++symmetry) {
      const bool transpose = symmetry & 1, rows = symmetry & 2, columns = symmetry & 4;
      const Tensor<float> x = detail::mapped(optical, transpose, rows, columns),
                          s = detail::mapped(sar, transpose, rows, columns);
      for (const auto* model : models_) {
        tdpcr::Outputs<float> out = answer(*model, x, s);
        for (size_t k = 0; k < 4; ++k) {
          // Back: a transpose swaps which flip is which.
          const Tensor<float> back =
              detail::mapped(*members(out)[k], transpose, transpose ? columns : rows, transpose ? rows : columns);
          if (!back.defined()) continue;
          Tensor<float>& sum = *members(total)[k];
          sum = sum.defined() ? sum + back : back;
        }
      }
    }
    for (Tensor<float>* t : members(total))
      if (t->defined()) *t = *t * (1 / float(runs()));
    return total;
  }

 private:
  static tdpcr::Outputs<float> answer(const tdpcr::Model<float>& model, const Tensor<float>& optical,
                                      const Tensor<float>& sar) {
    const Device device = model.device();
    tdpcr::Outputs<float> out = model(optical.to(device), sar.to(device));
    for (Tensor<float>* t : members(out)) *t = t->to(Device::cpu);
    return out;
  }
  static std::array<Tensor<float>*, 4> members(tdpcr::Outputs<float>& o) {
    return {&o.reconstruction, &o.logits, &o.reliance, &o.uncertainty};
  }

  std::vector<const tdpcr::Model<float>*> models_;
  int symmetries_;
};

}  // namespace clearsky::train
