#pragma once
// The matrix instructions of a warp, with the registers of each lane laid out as the PTX ISA says.
//
// With g = lane / 4 and t = lane % 4 (sec. 9.7.13.4, "Matrix fragments"; a pair is two neighbours, the first in the low
// half of the register):
//
//     m16n8k16, bf16   a0..a3: pairs at rows g, g + 8, g, g + 8 and columns 2t, 2t, 2t + 8, 2t + 8
//                      b0, b1: pairs at rows 2t, 2t + 8 (down the column) and column g
//     m16n8k8, tf32    a0..a3: rows g, g + 8, g, g + 8 and columns t, t, t + 4, t + 4
//                      b0, b1: rows t, t + 4 and column g
//     c and d, float   0..3: rows g, g, g + 8, g + 8 and columns 2t, 2t + 1, 2t, 2t + 1
//     ldmatrix         register i holds the pair at row g, columns 2t and 2t + 1 of matrix i, whose row r starts at the
//                      address that lane 8 i + r gives; with trans, the pair at rows 2t and 2t + 1, column g

#include "clearsky/simt/device_memory.hpp"

namespace clearsky::simt {

/// The registers of one lane.
struct MmaPart {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
  const float* c;
};

inline float low_bfloat16(uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
inline float high_bfloat16(uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000u);
}
/// A tensor core does not look at the last 13 bits.
inline float read_tf32(uint32_t bits) {
  return std::bit_cast<float>(bits & ~0x1fffu);
}

inline void check_whole_warp(Thread* const* lanes, uint32_t mask) {
  CLEARSKY_CHECK(ValueError, mask == 0xffffffffu, "simt: only the lanes ", mask_text(mask), " come to ",
                 to_text(lanes[std::countr_zero(mask)]->site), "; matrix functions need all 32 lanes of a warp");
}

/// d = a b + c, with sums in float in the order of k. A device adds in an order of its own.
template <int K>
void multiply_fragments(Thread* const* lanes, const float (&a)[16][K], const float (&b)[K][8]) {
  float d[16][8];
  const auto part = [&](int lane) -> MmaPart& { return *static_cast<MmaPart*>(lanes[lane]->part); };
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < 4; ++i) d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = part(lane).c[i];
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < K; ++k)
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < 4; ++i) part(lane).d[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

inline void complete_mma_bf16(Thread* const* lanes, uint32_t mask) {
  check_whole_warp(lanes, mask);
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const MmaPart& p = *static_cast<const MmaPart*>(lanes[lane]->part);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
      a[row][column] = low_bfloat16(p.a[i]);
      a[row][column + 1] = high_bfloat16(p.a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[2 * t + i * 8][g] = low_bfloat16(p.b[i]);
      b[2 * t + i * 8 + 1][g] = high_bfloat16(p.b[i]);
    }
  }
  multiply_fragments<16>(lanes, a, b);
}

inline void complete_mma_tf32(Thread* const* lanes, uint32_t mask) {
  check_whole_warp(lanes, mask);
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const MmaPart& p = *static_cast<const MmaPart*>(lanes[lane]->part);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = read_tf32(p.a[i]);
    for (int i = 0; i < 2; ++i) b[t + i * 4][g] = read_tf32(p.b[i]);
  }
  multiply_fragments<8>(lanes, a, b);
}

inline void multiply(const Site& site, Thread::Complete complete, MmaPart part) {
  [[maybe_unused]] const Quiet quiet;
  Block::current->block->rendezvous(site, 0xffffffffu, complete, &part);
}

struct LdmatrixPart {
  uint32_t* registers;
  const void* row;
};

template <int Matrices, bool Transposed>
void complete_ldmatrix(Thread* const* lanes, uint32_t mask) {
  check_whole_warp(lanes, mask);
  for (int m = 0; m < Matrices; ++m) {
    uint16_t matrix[8][8];
    for (int row = 0; row < 8; ++row)
      std::memcpy(matrix[row], static_cast<LdmatrixPart*>(lanes[m * 8 + row]->part)->row, sizeof matrix[row]);
    for (int lane = 0; lane < kWarp; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const uint32_t low = Transposed ? matrix[2 * t][g] : matrix[g][2 * t];
      const uint32_t high = Transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      static_cast<LdmatrixPart*>(lanes[lane]->part)->registers[m] = low | high << 16;
    }
  }
}

template <int Matrices, bool Transposed>
CLEARSKY_SIMT_INLINE void ldmatrix(uint32_t* registers, const void* row, const Site& site) {
  [[maybe_unused]] const Quiet quiet;
  if (Block::current->number % kWarp < 8 * Matrices) {  // the other lanes' addresses are not read
    check_aligned(row, 16, site);
    check_shared(row, 16, site);
    note_access(row, 16, AccessKind::read);
  }
  LdmatrixPart part{registers, row};
  Block::current->block->rendezvous(site, 0xffffffffu, &complete_ldmatrix<Matrices, Transposed>, &part);
}

}  // namespace clearsky::simt

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// d (16, 8) = a (16, 16) b (16, 8) + c (16, 8): bfloat16 factors, float sums; d may be c.
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4],
                         CLEARSKY_SIMT_CALLER) {
  simt::multiply({"mma_m16n8k16", file, line}, &simt::complete_mma_bf16, {d, a, b, c});
}
/// d (16, 8) = a (16, 8) b (8, 8) + c (16, 8): tf32 factors (see to_tf32), float sums; d may be c.
inline void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4],
                        CLEARSKY_SIMT_CALLER) {
  simt::multiply({"mma_m16n8k8", file, line}, &simt::complete_mma_tf32, {d, a, b, c});
}

/// Matrices of 8 x 8 16-bit elements from shared memory; lane 8 i + r gives the address of row r of matrix i.
CLEARSKY_SIMT_INLINE void ldmatrix_x1(uint32_t (&r)[1], const void* row, CLEARSKY_SIMT_CALLER) {
  simt::ldmatrix<1, false>(r, row, {"ldmatrix_x1", file, line});
}
CLEARSKY_SIMT_INLINE void ldmatrix_x2(uint32_t (&r)[2], const void* row, CLEARSKY_SIMT_CALLER) {
  simt::ldmatrix<2, false>(r, row, {"ldmatrix_x2", file, line});
}
CLEARSKY_SIMT_INLINE void ldmatrix_x4(uint32_t (&r)[4], const void* row, CLEARSKY_SIMT_CALLER) {
  simt::ldmatrix<4, false>(r, row, {"ldmatrix_x4", file, line});
}
CLEARSKY_SIMT_INLINE void ldmatrix_x1_trans(uint32_t (&r)[1], const void* row, CLEARSKY_SIMT_CALLER) {
  simt::ldmatrix<1, true>(r, row, {"ldmatrix_x1_trans", file, line});
}
CLEARSKY_SIMT_INLINE void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row, CLEARSKY_SIMT_CALLER) {
  simt::ldmatrix<2, true>(r, row, {"ldmatrix_x2_trans", file, line});
}
CLEARSKY_SIMT_INLINE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, CLEARSKY_SIMT_CALLER) {
  simt::ldmatrix<4, true>(r, row, {"ldmatrix_x4_trans", file, line});
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
