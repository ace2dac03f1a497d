// Each function that portable.cuh offers, so that the assembler reads each instruction. Compiled only.
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda {

__global__ void __launch_bounds__(128) use_primitives(const float* from, float* to, uint32_t* bits, int valid) {
  CLEARSKY_SHARED(float, tile, [64][8]);
  CLEARSKY_DYNAMIC_SHARED(bfloat16, rows);
  const unsigned lane = threadIdx.x % kWarp;
  cp_async16(&tile[lane][0], from + 8 * lane, valid);
  cp_commit();
  cp_async4(&tile[lane][4], from + 8 * lane + 4, valid);
  cp_commit();
  cp_wait<1>();
  cp_wait<0>();
  __syncthreads();

  uint32_t a[4], b[2], one[1];
  float c[4] = {}, d[4];
  const void* row = rows + 8 * lane;
  ldmatrix_x4(a, row);
  ldmatrix_x2(b, row);
  mma_m16n8k16(c, a, b, c);
  ldmatrix_x4_trans(a, row);
  ldmatrix_x2_trans(b, row);
  mma_m16n8k16(c, a, b, c);
  ldmatrix_x1(one, row);
  bits[lane] = one[0];
  ldmatrix_x1_trans(one, row);
  bits[lane + 32] = one[0] + pack(to_bfloat16(from[lane]), to_bfloat16(to_float(to_half(from[lane]))));
  for (int i = 0; i < 4; ++i) a[i] = to_tf32(tile[lane][i]);
  for (int i = 0; i < 2; ++i) b[i] = to_tf32(tile[lane][4 + i]);
  mma_m16n8k8(d, a, b, c);
  st4(to + 4 * lane, make_float4(d[0], d[1], warp_sum(d[2]), warp_max(d[3])));
  const float4 v = ld4(from + 4 * lane);
  store_vector(to + 128 + 2 * lane, load_vector<float2>(tile[lane]));
  st4(reinterpret_cast<int*>(bits) + 64 + 4 * lane, make_int4(int(v.x), int(v.y), int(v.z), int(v.w)));
}

void launch_primitives(Stream stream) {
  allow_shared(use_primitives, 65536);
  launch(use_primitives, 1, 128, 65536, stream, nullptr, nullptr, nullptr, 16);
}

}  // namespace clearsky::cuda
