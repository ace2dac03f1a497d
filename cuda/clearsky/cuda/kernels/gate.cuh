#pragma once
// Gates that split the channels of a pixel in two halves [a b] and multiply them, one pass each way.
//
//     gelu     y = a Phi(a) b      da = dy b (Phi(a) + a phi(a)),  db = dy a Phi(a)
//     simple   y = a b             da = dy b,                      db = dy a
//
// Phi and phi: distribution and density of the standard normal. Sources: Hendrycks, Gimpel, "Gaussian Error Linear
// Units", 2016, arXiv:1606.08415; Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, eq. 2.
// One thread takes four neighbouring channels where the rows allow 16-byte accesses, and one otherwise.

#include "clearsky/cpu/gate.hpp"
#include "clearsky/cuda/kernels/functions.cuh"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using GateForward = cpu::GateForward<float>;
using GateBackward = cpu::GateBackward<float>;

struct GeluGate {
  static __device__ __forceinline__ float forward(float a, float b) { return a * normal_distribution(a) * b; }
  static __device__ __forceinline__ void backward(float a, float b, float dy, float& da, float& db) {
    const float d = normal_distribution(a);
    da = dy * b * (d + a * normal_density(a));
    db = dy * (a * d);
  }
};

struct SimpleGate {
  static __device__ __forceinline__ float forward(float a, float b) { return a * b; }
  static __device__ __forceinline__ void backward(float a, float b, float dy, float& da, float& db) {
    da = dy * b;
    db = dy * a;
  }
};

/// grid (ceil(rows half / Width / 256)), block 256
template <class Gate, int Width>
__global__ void __launch_bounds__(256) gate_forward(const GateForward p) {
  const int64_t i = (int64_t(blockIdx.x) * 256 + threadIdx.x) * Width;
  if (i >= p.rows * p.half) return;
  const float* x = p.x + i / p.half * 2 * p.half + i % p.half;
  if constexpr (Width == 4) {
    const float4 a = ld4(x), b = ld4(x + p.half);
    st4(p.y + i, make_float4(Gate::forward(a.x, b.x), Gate::forward(a.y, b.y), Gate::forward(a.z, b.z),
                             Gate::forward(a.w, b.w)));
  } else {
    p.y[i] = Gate::forward(x[0], x[p.half]);
  }
}

/// grid (ceil(rows half / Width / 256)), block 256
template <class Gate, int Width>
__global__ void __launch_bounds__(256) gate_backward(const GateBackward p) {
  const int64_t i = (int64_t(blockIdx.x) * 256 + threadIdx.x) * Width;
  if (i >= p.rows * p.half) return;
  const int64_t at = i / p.half * 2 * p.half + i % p.half;
  if constexpr (Width == 4) {
    const float4 a = ld4(p.x + at), b = ld4(p.x + at + p.half), dy = ld4(p.dy + i);
    float4 da, db;
    Gate::backward(a.x, b.x, dy.x, da.x, db.x);
    Gate::backward(a.y, b.y, dy.y, da.y, db.y);
    Gate::backward(a.z, b.z, dy.z, da.z, db.z);
    Gate::backward(a.w, b.w, dy.w, da.w, db.w);
    st4(p.dx + at, da);
    st4(p.dx + at + p.half, db);
  } else {
    Gate::backward(p.x[at], p.x[at + p.half], p.dy[i], p.dx[at], p.dx[at + p.half]);
  }
}

template <class Gate>
void launch_gate_forward(const GateForward& p, Stream stream) {
  if (p.rows * p.half == 0) return;
  if (p.half % 4 == 0 && aligned16(p.x, p.y))
    launch(gate_forward<Gate, 4>, blocks_of(p.rows * p.half / 4, 256), 256, 0, stream, p);
  else launch(gate_forward<Gate, 1>, blocks_of(p.rows * p.half, 256), 256, 0, stream, p);
}
template <class Gate>
void launch_gate_backward(const GateBackward& p, Stream stream) {
  if (p.rows * p.half == 0) return;
  if (p.half % 4 == 0 && aligned16(p.x, p.dy, p.dx))
    launch(gate_backward<Gate, 4>, blocks_of(p.rows * p.half / 4, 256), 256, 0, stream, p);
  else launch(gate_backward<Gate, 1>, blocks_of(p.rows * p.half, 256), 256, 0, stream, p);
}

/// Each returns without waiting. An empty tensor is not an error, an empty grid is.
inline void gelu_gate_forward(const GateForward& p, Stream stream) {
  launch_gate_forward<GeluGate>(p, stream);
}
inline void gelu_gate_backward(const GateBackward& p, Stream stream) {
  launch_gate_backward<GeluGate>(p, stream);
}
inline void simple_gate_forward(const GateForward& p, Stream stream) {
  launch_gate_forward<SimpleGate>(p, stream);
}
inline void simple_gate_backward(const GateBackward& p, Stream stream) {
  launch_gate_backward<SimpleGate>(p, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
