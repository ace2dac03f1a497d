#pragma once
// What happens to the sums of a product on their way to memory, and the sum of slots.
//
//     y = activation(sum + bias) + residual

#include "clearsky/cuda/kernels/column_sums.cuh"
#include "clearsky/cuda/kernels/functions.cuh"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

enum class Activation { none, relu, gelu };

/// Passes by NaN: a NaN stays one.
__device__ __forceinline__ float activate(Activation kind, float v) {
  if (kind == Activation::relu) return v < 0.0f ? 0.0f : v;
  if (kind == Activation::gelu) return v * normal_distribution(v);
  return v;
}

struct Epilogue {
  const float* bias = nullptr;  // (columns), or null
  Activation activation = Activation::none;
  const float* residual = nullptr;  // as the result, or null

  __device__ __forceinline__ float operator()(float sum, int64_t column, int64_t at) const {
    const float v = activate(activation, sum + (bias == nullptr ? 0.0f : bias[column]));
    return v + (residual == nullptr ? 0.0f : residual[at]);
  }
};

/// Where the sums of a product go.
struct TileResult {
  float* y;  // written
  Epilogue epilogue;
  bool fours;  // whether y, bias and residual can be accessed in fours, at columns that are multiples of 4

  TileResult(float* to, const Epilogue& e, int64_t columns)
      : y(to), epilogue(e), fours(columns % 4 == 0 && in_fours(to) && in_fours(e.bias) && in_fours(e.residual)) {}
  static bool in_fours(const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

  __device__ __forceinline__ void write(const float* sum, int64_t at, int64_t column) const {
    y[at] = epilogue(*sum, column, at);
  }
  __device__ __forceinline__ void write4(const float* sum, int64_t at, int64_t column) const {
    const float4 none = make_float4(0, 0, 0, 0), v = ld4(sum);
    const float4 b = epilogue.bias == nullptr ? none : ld4(epilogue.bias + column);
    const float4 r = epilogue.residual == nullptr ? none : ld4(epilogue.residual + at);
    const Activation kind = epilogue.activation;
    st4_global(y + at, make_float4(activate(kind, v.x + b.x) + r.x, activate(kind, v.y + b.y) + r.y,
                                   activate(kind, v.z + b.z) + r.z, activate(kind, v.w + b.w) + r.w));
  }
};

/// Partial results that lie as the result does, one after the other.
struct SlotParts {
  const float* parts;  // (slots, count)
  float* y;            // (count)  written
  int64_t slots, count, columns;
  Epilogue epilogue;
};

/// Each thread adds every Rows-th slot, then the block's rows are added: for any slots the same order.
/// grid (ceil(count / kWarp)), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) add_slots(const SlotParts p) {
  const int64_t i = int64_t(blockIdx.x) * kWarp + threadIdx.x;
  float total = 0;
  if (i < p.count)  // the others must stay for the barriers
    for (int64_t s = threadIdx.y; s < p.slots; s += Rows) total += p.parts[s * p.count + i];
  total = sum_down_block(total);
  if (threadIdx.y == 0 && i < p.count) p.y[i] = p.epilogue(total, i % p.columns, i);
}

inline void launch_add_slots(const SlotParts& p, Stream stream) {
  if (p.count == 0) return;
  launch(add_slots<kColumnRows>, dim3(blocks_of(p.count, kWarp)), dim3(kWarp, kColumnRows), 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
