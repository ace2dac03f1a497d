// The matrix instructions against a plain triple loop. The test builds the fragments on its own, element by element,
// with the formulas of the PTX ISA (8.0, sec. 9.7.13.4.8 and 9.7.13.4.7, "Matrix Fragments for mma.m16n8k16" and
// "... m16n8k8"), which give the row and column of each a_i, and not by the code under test.

#include <cmath>

#include "ways.hpp"

namespace clearsky::cuda {
namespace {

using test::contains;
using test::each_way;
using test::message_of;

struct At {
  int row, column;
};

// "row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, groupID + 8 otherwise;
//  col = (threadID_in_group * 2) + (i & 0x1) for ai where i < 4, ... + 8 for ai where i >= 4"
At a_of_bf16(int lane, int i) {
  const int row = (i < 2 || (4 <= i && i < 6)) ? lane / 4 : lane / 4 + 8;
  return {row, lane % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
// "row = (threadID_in_group * 2) + (i & 0x1) for bi where i < 2, ... + 8 for bi where i >= 2; col = groupID"
At b_of_bf16(int lane, int i) {
  return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane / 4};
}
// "row = groupID for a0 and a2, groupID + 8 for a1 and a3; col = threadID_in_group for a0 and a1, ... + 4 for a2, a3"
At a_of_tf32(int lane, int i) {
  return {i == 0 || i == 2 ? lane / 4 : lane / 4 + 8, i < 2 ? lane % 4 : lane % 4 + 4};
}
// "row = threadID_in_group for b0, threadID_in_group + 4 for b1; col = groupID"
At b_of_tf32(int lane, int i) {
  return {i == 0 ? lane % 4 : lane % 4 + 4, lane / 4};
}
// "row = groupID for ci where i < 2, groupID + 8 for ci where i >= 2; col = (threadID_in_group * 2) + (i & 0x1)"
At c_of(int lane, int i) {
  return {i < 2 ? lane / 4 : lane / 4 + 8, lane % 4 * 2 + (i & 1)};
}

/// Small integers: exact in bfloat16 and tf32, and so are their sums in float, in any order.
template <int Rows, int Columns>
void fill(float (&m)[Rows][Columns], int seed) {
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Columns; ++c) m[r][c] = float((r * 37 + c * 11 + seed * r * c) % 17 - 8);
}

struct Registers {
  uint32_t a[32][4], b[32][2];
  float c[32][4], d[32][4];
};

__global__ void multiply_bf16(Registers* r) {
  const unsigned lane = threadIdx.x;
  mma_m16n8k16(r->d[lane], r->a[lane], r->b[lane], r->c[lane]);
}
__global__ void multiply_tf32(Registers* r) {
  const unsigned lane = threadIdx.x;
  mma_m16n8k8(r->d[lane], r->a[lane], r->b[lane], r->c[lane]);
}
__global__ void multiply_in_place(Registers* r) {
  const unsigned lane = threadIdx.x;
  mma_m16n8k16(r->c[lane], r->a[lane], r->b[lane], r->c[lane]);
}
__global__ void multiply_partly(Registers* r) {
  if (threadIdx.x == 7) return;
  multiply_bf16(r);
}

template <int K>
void check_product(const float (&a)[16][K], const float (&b)[K][8], const float (&c)[16][8], const float (&d)[32][4]) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const At at = c_of(lane, i);
      float want = c[at.row][at.column];
      for (int k = 0; k < K; ++k) want += a[at.row][k] * b[k][at.column];
      CHECK(d[lane][i] == want);
    }
}

uint32_t brain(float v) {
  return BFloat16(v).bits;
}

TEST_CASE("mma_m16n8k16 multiplies matrices that lie in registers as the PTX ISA says") {
  float a[16][16], b[16][8], c[16][8];
  fill(a, 1), fill(b, 2), fill(c, 3);
  each_way([&] {
    Registers r{};
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 8; ++i) {
        const At at = a_of_bf16(lane, i);
        r.a[lane][i / 2] |= brain(a[at.row][at.column]) << (i % 2 * 16);
      }
      for (int i = 0; i < 4; ++i) {
        const At at = b_of_bf16(lane, i);
        r.b[lane][i / 2] |= brain(b[at.row][at.column]) << (i % 2 * 16);
        r.c[lane][i] = c[c_of(lane, i).row][c_of(lane, i).column];
      }
    }
    launch(multiply_bf16, 1, 32, 0, nullptr, &r);
    check_product(a, b, c, r.d);
    launch(multiply_in_place, 1, 32, 0, nullptr, &r);
    check_product(a, b, c, r.c);
    CHECK(contains(message_of([&] { launch(multiply_partly, 1, 32, 0, nullptr, &r); }),
                   "simt: only the lanes 0xffffff7f come to mma_m16n8k16 (matrix_test.cpp:"));
  });
}

TEST_CASE("mma_m16n8k8 multiplies tf32 matrices, and does not see the last 13 bits") {
  float a[16][8], b[8][8], c[16][8];
  fill(a, 4), fill(b, 5), fill(c, 6);
  each_way([&] {
    Registers r{};
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        // The garbage in the last bits must not count.
        const At at = a_of_tf32(lane, i);
        r.a[lane][i] = std::bit_cast<uint32_t>(a[at.row][at.column]) | 0x1fffu;
        if (i < 2) r.b[lane][i] = to_tf32(b[b_of_tf32(lane, i).row][b_of_tf32(lane, i).column]);
        r.c[lane][i] = c[c_of(lane, i).row][c_of(lane, i).column];
      }
    launch(multiply_tf32, 1, 32, 0, nullptr, &r);
    check_product(a, b, c, r.d);
  });
}

TEST_CASE("to_tf32 rounds to 10 bits behind the point, ties away from zero") {
  const auto rounded = [](float v) { return std::bit_cast<float>(to_tf32(v)); };
  CHECK(rounded(1 + 0x1p-11f) == 1 + 0x1p-10f);
  CHECK(rounded(-1 - 0x1p-11f) == -1 - 0x1p-10f);
  CHECK(rounded(1 + 0x1.8p-12f) == 1);
  CHECK(std::isinf(rounded(INFINITY)));
  CHECK(std::isnan(rounded(NAN)));
}

template <int Matrices, bool Transposed>
__global__ void load_matrices(uint32_t* out, int shift) {
  CLEARSKY_SHARED(uint16_t, tile, [32][24]);  // rows of 48 bytes: their distance is not their length
  const int lane = int(threadIdx.x);
  for (int c = 0; c < 24; ++c) tile[lane][c] = uint16_t(lane * 100 + c);
  __syncthreads();
  uint32_t r[Matrices];
  const void* row = &tile[lane][shift];
  if constexpr (Matrices == 1) Transposed ? ldmatrix_x1_trans(r, row) : ldmatrix_x1(r, row);
  if constexpr (Matrices == 2) Transposed ? ldmatrix_x2_trans(r, row) : ldmatrix_x2(r, row);
  if constexpr (Matrices == 4) Transposed ? ldmatrix_x4_trans(r, row) : ldmatrix_x4(r, row);
  for (int m = 0; m < Matrices; ++m) out[m * 32 + lane] = r[m];
}

template <int Matrices, bool Transposed>
void check_ldmatrix() {
  std::vector<uint32_t> out(32 * Matrices, 0);
  launch(load_matrices<Matrices, Transposed>, 1, 32, 0, nullptr, out.data(), 8);
  for (int m = 0; m < Matrices; ++m)
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 2; ++i) {
        // Thread T holds row T / 4, elements 2 (T % 4) and the next; of the transposed matrix with .trans.
        const int row = lane / 4, column = lane % 4 * 2 + i;
        const int want = Transposed ? (m * 8 + column) * 100 + 8 + row : (m * 8 + row) * 100 + 8 + column;
        CHECK(int(out[size_t(m * 32 + lane)] >> (16 * i) & 0xffff) == want);
      }
}

TEST_CASE("ldmatrix gives each lane the pair that the matrix instructions want there") {
  each_way([] {
    check_ldmatrix<1, false>();
    check_ldmatrix<2, false>();
    check_ldmatrix<4, false>();
    check_ldmatrix<1, true>();
    check_ldmatrix<2, true>();
    check_ldmatrix<4, true>();
  });
  std::vector<uint32_t> out(128, 0);
  const auto text = [&](int shift) {
    return message_of([&] { launch(load_matrices<4, false>, 1, 32, 0, nullptr, out.data(), shift); });
  };
  CHECK(contains(text(4), "is 8 bytes past a multiple of 16, at ldmatrix_x4 (matrix_test.cpp:"));
  CHECK(contains(text(800), "bytes that are not in a shared array"));
}

}  // namespace
}  // namespace clearsky::cuda
