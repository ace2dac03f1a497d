#pragma once
// Focal loss: cross-entropy in which pixels that are right already count little.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/ops/cross_entropy.hpp"

namespace clearsky {

/// Focal loss of softmax(logits) against labels, averaged over the pixels that count.
///
///     loss = mean of -(1 - p_y)^gamma log p_y        p = softmax of a pixel's scores, y its label
///
/// @param logits  (..., classes)  scores, not normalised
/// @param labels  (...)           uint8 or int64: 0 to classes - 1, or ignore_index, which leaves the pixel out
/// @param gamma   at least 0; 0 gives cross-entropy
/// @return        a scalar; 0, with a gradient of 0, when no pixel counts
/// @throws        ValueError for a label that is no class and not ignore_index, and for a negative gamma; ShapeError
///                when the shapes do not fit
/// @source        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4
template <class T, class Label>
Tensor<T> focal_loss(const Tensor<T>& logits, const Tensor<Label>& labels, double gamma = 2,
                     int64_t ignore_index = 255) {
  detail::check_class_scores("focal_loss", logits, labels);
  CLEARSKY_CHECK(ValueError, gamma >= 0, "focal_loss: gamma ", gamma, "; use at least 0");
  return apply(detail::CrossEntropyOp<T, Label>{"focal_loss", contiguous(labels), {}, ignore_index, 0, gamma}, logits);
}

CLEARSKY_INSTANCE_FLOAT(decltype(focal_loss<float, uint8_t>) focal_loss<float, uint8_t>)
CLEARSKY_INSTANCE_FLOAT(decltype(focal_loss<float, int64_t>) focal_loss<float, int64_t>)
CLEARSKY_INSTANCE_DOUBLE(decltype(focal_loss<double, uint8_t>) focal_loss<double, uint8_t>)
CLEARSKY_INSTANCE_DOUBLE(decltype(focal_loss<double, int64_t>) focal_loss<double, int64_t>)

}  // namespace clearsky
