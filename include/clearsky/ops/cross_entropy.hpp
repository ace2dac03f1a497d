#pragma once
// Cross-entropy of class scores against labels.

#include <vector>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/cross_entropy.hpp"
#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/index_check.hpp"

namespace clearsky {

struct CrossEntropyOptions {
  int64_t ignore_index = 255;              ///< pixels with this label count nothing
  std::vector<double> class_weights = {};  ///< one per class; empty means 1 for each
  double label_smoothing = 0;              ///< share of the target spread evenly over all classes, 0 to 1
};

namespace detail {

template <class T, class Label>
inline Kernel<cpu::CrossEntropy<T, Label>> cross_entropy_kernel{"cross_entropy", cpu::cross_entropy<T, Label>};

/// The shapes fit and there is at least one class.
template <class T, class Label>
void check_class_scores(const char* op, const Tensor<T>& logits, const Tensor<Label>& labels) {
  static_assert(std::is_same_v<Label, uint8_t> || std::is_same_v<Label, int64_t>, "labels are uint8 or int64");
  CLEARSKY_CHECK(ShapeError, logits.rank() >= 1 && logits.shape().back() >= 1, op,
                 ": scores must be (..., classes) with at least 1 class, got ", logits.shape());
  Shape pixels = logits.shape();
  pixels.erase(pixels.rank() - 1);
  CLEARSKY_CHECK(ShapeError, labels.shape() == pixels, op, ": scores ", logits.shape(), " want labels ", pixels,
                 ", got ", labels.shape());
  check_same_device(op, logits, labels);
}

/// Names the label of row `row`, which no class has.
template <class Label>
[[noreturn, gnu::cold, gnu::noinline]] void fail_label(const char* op, const Tensor<Label>& labels, int64_t row,
                                                       int64_t classes, int64_t ignore_index) {
  CLEARSKY_FAIL(ValueError, op, ": label ", int64_t(labels.to_vector()[size_t(row)]), " at ",
                index_of_element(labels.shape(), row), " is none of the ", classes, " classes 0 to ", classes - 1,
                " and not the ignored ", ignore_index);
}

template <class T, class Label>
struct CrossEntropyOp {
  static constexpr bool kTwiceDifferentiable = false;
  static constexpr const char* kName = "cross_entropy";
  const char* name;  // as the caller knows it
  Tensor<Label> labels;
  Tensor<T> class_weights;
  int64_t ignore_index;
  double smoothing, gamma;

  /// Keeps the derivative up to a common factor: a GPU knows the sum of the weights only when all pixels are done.
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& logits) const {
    const Tensor<T> x = contiguous(logits);
    const int64_t classes = x.shape().back();
    Tensor<T> loss({}, x.device()), scale({}, x.device());
    const Tensor<T> d = saved.recording() ? Tensor<T>(x.shape(), x.device()) : Tensor<T>();
    int64_t invalid = -1;
    cross_entropy_kernel<T, Label>(
        x.device(), {x.data(), labels.data(), class_weights.data(), loss.mutable_data(), scale.mutable_data(),
                     d.mutable_data(), &invalid, labels.numel(), classes, ignore_index, smoothing, gamma});
    if (invalid >= 0) fail_label(name, labels, invalid, classes, ignore_index);
    saved.keep(d);
    saved.keep(scale);
    return loss;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> factor = map_binary(kName, cpu::fn::Mul{}, g, saved[1]);
    if (factor.device() == Device::cpu && factor.item() == T(1)) return {saved[0]};  // of a loss that is the root
    return {map_binary(kName, cpu::fn::Mul{}, saved[0], factor)};
  }
};

}  // namespace detail

/// Cross-entropy of softmax(logits) against labels, averaged over the pixels that count.
///
///     loss = sum_i w_yi (-log p_i,yi) / sum_i w_yi        p = softmax of a pixel's scores, y its label
///
/// With label smoothing s the first sum's term is (1 - s) w_y (-log p_y) + s/C sum_c w_c (-log p_c), as in
/// torch.nn.functional.cross_entropy. Softmax, loss and derivative are one pass over the scores.
///
/// @param logits  (..., classes)  scores, not normalised
/// @param labels  (...)           uint8 or int64: 0 to classes - 1, or ignore_index
/// @return        a scalar; 0, with a gradient of 0, when no pixel counts (torch gives NaN): a crop without any label
///                must not end a training
/// @throws        ValueError for a label that is no class and not ignore_index, for weights that are not one per class,
///                and for a smoothing outside 0 to 1; ShapeError when the shapes do not fit
template <class T, class Label>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Tensor<Label>& labels, const CrossEntropyOptions& options = {}) {
  detail::check_class_scores("cross_entropy", logits, labels);
  const int64_t classes = logits.shape().back(), weights = int64_t(options.class_weights.size());
  CLEARSKY_CHECK(ValueError, weights == 0 || weights == classes, "cross_entropy: ", weights, " class weights for ",
                 classes, " classes");
  CLEARSKY_CHECK(ValueError, 0 <= options.label_smoothing && options.label_smoothing <= 1,
                 "cross_entropy: label smoothing ", options.label_smoothing, "; use 0 to 1");
  Tensor<T> class_weights;
  if (weights > 0) {
    // One by one: fills can be part of a captured step, an upload from here could not.
    class_weights = Tensor<T>({classes}, logits.device());
    for (int64_t c = 0; c < classes; ++c)
      detail::fill_elements(class_weights.view_as({}, {}, c), T(options.class_weights[size_t(c)]));
  }
  return apply(detail::CrossEntropyOp<T, Label>{"cross_entropy", contiguous(labels), class_weights,
                                                options.ignore_index, options.label_smoothing, 0},
               logits);
}

CLEARSKY_INSTANCE_FLOAT(decltype(cross_entropy<float, uint8_t>) cross_entropy<float, uint8_t>)
CLEARSKY_INSTANCE_FLOAT(decltype(cross_entropy<float, int64_t>) cross_entropy<float, int64_t>)
CLEARSKY_INSTANCE_DOUBLE(decltype(cross_entropy<double, uint8_t>) cross_entropy<double, uint8_t>)
CLEARSKY_INSTANCE_DOUBLE(decltype(cross_entropy<double, int64_t>) cross_entropy<double, int64_t>)

}  // namespace clearsky
