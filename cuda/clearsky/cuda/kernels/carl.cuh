#pragma once
// Cloud-adaptive regularised loss: with P the prediction, T the target, I the input and m the mask of a pixel
//
//     loss = mean of |m (P - T)| + |(1 - m) (P - I)| + lambda |P - T|
//     dP = g / n (t + i),  dT = -g / n t,  dI = -g / n i      t = (|m| + lambda) sign(P - T),  i = |1 - m| sign(P - I)
//
// Source: Meraner et al., ISPRS J. Photogramm. Remote Sens. 166 (2020), 333, eq. 3. Each array is read once each way.

#include "clearsky/cuda/kernels/error_loss.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using CarlForward = cpu::CarlForward<float>;
using CarlBackward = cpu::CarlBackward<float>;

/// parts (slots), written. grid slots, block kSumThreads
template <int Width>
__global__ void __launch_bounds__(kSumThreads) carl_sums(const CarlForward p, double* parts) {
  const int64_t begin = int64_t(blockIdx.x) * kLossSlot, numel = p.rows * p.cols;
  const int64_t end = begin + kLossSlot < numel ? begin + kLossSlot : numel;
  float sum = 0;
  for (int64_t i = begin + int64_t(threadIdx.x) * Width; i < end; i += kSumThreads * Width) {
    const int64_t left = end - i;
    const Lanes<Width> x = load_first<Width>(p.prediction + i, left), target = load_first<Width>(p.target + i, left);
    const Lanes<Width> input = load_first<Width>(p.input + i, left);
    const RowWeights<Width> m = weights_at<Width>(p.mask, i, p.cols, left);
    for (int k = 0; k < Width; ++k)  // behind the end all three are 0, and so are their differences
      sum += (fabsf(m.each[k]) + p.lambda) * fabsf(x[k] - target[k]) + fabsf(1.0f - m.each[k]) * fabsf(x[k] - input[k]);
  }
  const double total = combine_block(double(sum), Plus());
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

/// grid 1, block Threads = kSumThreads
template <int Threads>
__global__ void __launch_bounds__(Threads) carl_total(const CarlForward p, const double* parts, int64_t slots) {
  const double total = sum_of_slots(parts, slots);
  if (threadIdx.x == 0) *p.loss = float(total / double(p.rows * p.cols));
}

/// grid ceil(numel / Width / kSumThreads), block kSumThreads
template <int Width>
__global__ void __launch_bounds__(kSumThreads) carl_slopes(const CarlBackward p) {
  const int64_t i = (int64_t(blockIdx.x) * kSumThreads + threadIdx.x) * Width, numel = p.rows * p.cols;
  const int64_t left = numel - i;
  if (left <= 0) return;
  const float factor = *p.g / float(numel);
  const Lanes<Width> x = load_first<Width>(p.prediction + i, left), target = load_first<Width>(p.target + i, left);
  const Lanes<Width> input = load_first<Width>(p.input + i, left);
  const RowWeights<Width> m = weights_at<Width>(p.mask, i, p.cols, left);
  Lanes<Width> both, to_target, to_input;
  for (int k = 0; k < Width; ++k) {
    const float t = factor * (fabsf(m.each[k]) + p.lambda) * sign_of(x[k] - target[k]);
    const float u = factor * fabsf(1.0f - m.each[k]) * sign_of(x[k] - input[k]);
    both[k] = t + u, to_target[k] = -t, to_input[k] = -u;
  }
  if (p.dprediction != nullptr) store_first<Width>(p.dprediction + i, both, left);
  if (p.dtarget != nullptr) store_first<Width>(p.dtarget + i, to_target, left);
  if (p.dinput != nullptr) store_first<Width>(p.dinput + i, to_input, left);
}

/// Floats of workspace that the forward takes.
inline int64_t carl_workspace(int64_t rows, int64_t cols) {
  return 2 * loss_slots(rows * cols);
}

/// Each returns without waiting. No elements are not an error: the loss is NaN then, as on the CPU.
/// @param workspace  (carl_workspace(rows, cols))  overwritten; at a multiple of 8 bytes
inline void carl_forward(const CarlForward& p, float* workspace, Stream stream) {
  const int64_t slots = loss_slots(p.rows * p.cols);
  auto* parts = reinterpret_cast<double*>(workspace);
  if (slots != 0) {
    const bool vectors = aligned16(p.prediction, p.target, p.input);
    launch(vectors ? carl_sums<4> : carl_sums<1>, blocks_of(slots, 1), kSumThreads, 0, stream, p, parts);
  }
  launch(carl_total<kSumThreads>, 1, kSumThreads, 0, stream, p, parts, slots);
}
inline void carl_backward(const CarlBackward& p, Stream stream) {
  const int64_t numel = p.rows * p.cols;
  if (numel == 0) return;
  if (aligned16(p.prediction, p.target, p.input, p.dprediction, p.dtarget, p.dinput))
    launch(carl_slopes<4>, blocks_of(numel, 4 * kSumThreads), kSumThreads, 0, stream, p);
  else launch(carl_slopes<1>, blocks_of(numel, kSumThreads), kSumThreads, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
