#pragma once
// The kernel that matrix products and convolutions share: c (rows, columns) = the sum over steps of a (rows, steps)
// times b (columns, steps), for factors that lie anywhere.
//
// A block computes a tile of c. While one pair of tiles of a and b, kTileDepth steps deep, is multiplied, cp.async
// brings the next ones. What lies outside a factor arrives as zeros, so that the inner loop has no borders: the padding
// of a convolution is no other case than the border of a matrix. Where an element lies is the business of a "source":
//
//     Line, Step                what is kept of a line (a row of a, a column of b) and of a step, in registers
//     line(i), step(i)          set up, with divisions if need be
//     next(Step&, n)            n steps on, without divisions
//     at(Line, Step, inside)    the address; whether there is an element, else the address is not read
//
// float32: 64 x 64 per block, 4 x 4 per thread, multiply-adds. tf32 and bfloat16: 128 x 64 per block, 32 x 32 per warp,
// by the tensor cores; tiles arrive as float and are rounded when a warp takes its fragments. Each element of c is
// added up in the order of its steps, by one thread. Long sums for a small c are cut into slots: see add_slots.
//
// Sources: CUTLASS, "Efficient GEMM in CUDA" (tiles, pipelining); PTX ISA 8.0, sec. 9.7.13.4 (fragments).

#include <type_traits>

#include "clearsky/core/device.hpp"
#include "clearsky/cuda/kernels/epilogue.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

inline constexpr int kTileDepth = 16;  ///< steps that are added between two barriers
inline constexpr int kTileThreads = 256;
/// Pairs of tiles in shared memory: one is multiplied, the others are on their way.
inline constexpr int kTileRing = 3;

template <Precision P>
inline constexpr int kTileRows = P == Precision::float32 ? 64 : 128;
inline constexpr int kTileColumns = 64;

/// What is contiguous in a factor's memory, and so in its tile.
enum class TileLayout { steps, lines };

/// A tile in shared memory. The pitch keeps 16-byte copies aligned, and what a warp reads at once in different banks:
/// lines t, t + 1, ... in 16 bytes (float32), or lines g and steps t of a fragment, in pairs of steps for bfloat16.
template <Precision P, TileLayout L, int Lines>
struct TilePlan {
  static constexpr int kPitch =
      L == TileLayout::steps ? kTileDepth + (P == Precision::bfloat16 ? 8 : 4) : Lines + (P == Precision::tf32 ? 8 : 4);
  static constexpr int kFloats = (L == TileLayout::steps ? Lines : kTileDepth) * kPitch;
  static __device__ __forceinline__ int at(int line, int step) {
    return L == TileLayout::steps ? line * kPitch + step : step * kPitch + line;
  }
  /// The line that the i-th row of threads copies, where a line is 16 floats and two rows of threads write at once: the
  /// other one writes kApart lines further, 16 banks away. Within eight lines, so that a warp reads the same ones.
  static __device__ __forceinline__ int line_of(int i) {
    constexpr int kApart = P == Precision::bfloat16 ? 2 : 4;
    static_assert(L == TileLayout::lines || (kTileDepth == 16 && kApart * kPitch % 32 == 16));
    return kApart == 4 ? (i & ~7) | (i & 1) << 2 | (i >> 1 & 3) : (i & ~3) | (i & 1) << 1 | (i >> 1 & 1);
  }
};

/// Of the tile of c in shared memory. Pairs of columns are written to it, and fours read from it; when turned, columns
/// are read down.
template <bool Turned>
inline constexpr int kPitchC = kTileColumns + (Turned ? 1 : 8);

/// Brings the tiles of one factor, one after the other. Each thread copies the same place of every tile: kLines lines
/// of one step, or kSteps steps of one line (of four neighbours, with Width = 4).
template <class Source, class Plan, TileLayout L, int Width, int Lines>
struct TileFetch {
  // Threads side by side in memory, and how many such rows of threads there are.
  static constexpr int kAcross = (L == TileLayout::steps ? kTileDepth : Lines) / Width;
  static constexpr int kDown = kTileThreads / kAcross;
  static constexpr int kLines = L == TileLayout::steps ? Lines / kDown : 1;
  static constexpr int kSteps = L == TileLayout::lines ? kTileDepth / kDown : 1;

  typename Source::Line lines[kLines];
  typename Source::Step step;

  __device__ __forceinline__ TileFetch(const Source& source, int64_t first_line, int64_t first_step) {
    const int across = int(threadIdx.x) % kAcross * Width, down = row_of_threads();
    for (int i = 0; i < kLines; ++i)
      lines[i] = source.line(first_line + (L == TileLayout::steps ? down + i * kDown : across));
    step = source.step(first_step + (L == TileLayout::steps ? across : down));
  }

  /// Asks for the next tile.
  __device__ __forceinline__ void operator()(const Source& source, float* tile) {
    const int across = int(threadIdx.x) % kAcross * Width, down = row_of_threads();
    for (int s = 0; s < kSteps; ++s) {
      for (int i = 0; i < kLines; ++i) {
        bool inside;
        const float* from = source.at(lines[i], step, inside);
        float* to =
            tile + (L == TileLayout::steps ? Plan::at(down + i * kDown, across) : Plan::at(across, down + s * kDown));
        if constexpr (Width == 4) cp_async16(to, from, inside ? 16 : 0);
        else cp_async4(to, from, inside ? 4 : 0);
      }
      source.next(step, kTileDepth / kSteps);
    }
  }

 private:
  static __device__ __forceinline__ int row_of_threads() {
    const int i = int(threadIdx.x) / kAcross;
    return L == TileLayout::steps ? Plan::line_of(i) : i;
  }
};

/// The sums of one thread. add() adds the products of a pair of tiles, store() puts the sums into the tile of c.
template <Precision P, TileLayout A, TileLayout B>
struct TileSums {
  using PlanA = TilePlan<P, A, kTileRows<P>>;
  using PlanB = TilePlan<P, B, kTileColumns>;
  float sums[2][4][4] = {};  // of fragments (16 x 8) at rows 16 i and columns 8 j
  int first_row, first_column, lane, g, t;

  __device__ __forceinline__ TileSums() {
    const int warp = int(threadIdx.x) / kWarp;
    first_row = warp / 2 * 32, first_column = warp % 2 * 32;
    lane = int(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  }
  /// One register of a fragment: an element in tf32, or two neighbouring steps in bfloat16.
  template <class Plan, TileLayout L>
  static __device__ __forceinline__ uint32_t part(const float* tile, int line, int step) {
    const float* from = tile + Plan::at(line, step);
    if constexpr (P == Precision::tf32) {
      return to_tf32(*from);
    } else if constexpr (L == TileLayout::steps) {
      const float2 pair = load_vector<float2>(from);
      return pack(to_bfloat16(pair.x), to_bfloat16(pair.y));
    } else {
      return pack(to_bfloat16(from[0]), to_bfloat16(from[Plan::kPitch]));
    }
  }

  /// Where ldmatrix can bring a fragment: it moves rows of 16 bytes, and gives a lane 32 bits of each block of 8 rows,
  /// which it takes for two numbers and which is one.
  template <TileLayout L>
  static constexpr bool kByMatrix = P == Precision::tf32&& L == TileLayout::steps;
  /// Four blocks of 8 lines and 4 steps. Lane l says where row l % 8 of block l / 8 begins: at line + l % 8.
  template <class Plan>
  __device__ __forceinline__ void matrices(const float* tile, int line, int step, uint32_t (&r)[4]) const {
    ldmatrix_x4(r, tile + Plan::at(line + lane % 8, step));
    for (uint32_t& v : r) v = to_tf32(__int_as_float(int(v)));
  }

  __device__ __forceinline__ void add(const float* a, const float* b) {
    // A fragment is 8 steps deep in tf32, and lane t has steps t and t + 4; in bfloat16 twice that.
    constexpr int kSteps = P == Precision::tf32 ? 8 : 16;
    const int step = P == Precision::tf32 ? t : 2 * t;
    for (int s = 0; s < kTileDepth; s += kSteps) {
      uint32_t x[2][4], y[4][2];
      if constexpr (kByMatrix<A>) {
        for (int i = 0; i < 2; ++i)  // blocks of 8 rows and 4 steps: rows first
          matrices<PlanA>(a, first_row + 16 * i + lane / 8 % 2 * 8, s + lane / 16 * 4, x[i]);
      } else {
        for (int i = 0; i < 2; ++i)
          for (int e = 0; e < 4; ++e)
            x[i][e] = part<PlanA, A>(a, first_row + 16 * i + e % 2 * 8 + g, s + step + e / 2 * (kSteps / 2));
      }
      if constexpr (kByMatrix<B>) {
        for (int j = 0; j < 4; j += 2) {  // of 8 columns and 4 steps: steps first
          uint32_t two[4];
          matrices<PlanB>(b, first_column + 8 * (j + lane / 16), s + lane / 8 % 2 * 4, two);
          for (int e = 0; e < 4; ++e) y[j + e / 2][e % 2] = two[e];
        }
      } else {
        for (int j = 0; j < 4; ++j)
          for (int e = 0; e < 2; ++e)
            y[j][e] = part<PlanB, B>(b, first_column + 8 * j + g, s + step + e * (kSteps / 2));
      }
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 4; ++j) {
          if constexpr (P == Precision::tf32) mma_m16n8k8(sums[i][j], x[i], y[j], sums[i][j]);
          else mma_m16n8k16(sums[i][j], x[i], y[j], sums[i][j]);
        }
    }
  }

  template <int Pitch>
  __device__ __forceinline__ void store(float* c) const {
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j)
        for (int e = 0; e < 2; ++e) {
          float* to = c + (first_row + 16 * i + 8 * e + g) * Pitch + first_column + 8 * j + 2 * t;
          const float left = sums[i][j][2 * e], right = sums[i][j][2 * e + 1];
          if constexpr (Pitch % 2 == 0) store_vector(to, make_float2(left, right));
          else to[0] = left, to[1] = right;
        }
  }
};

template <TileLayout A, TileLayout B>
struct TileSums<Precision::float32, A, B> {
  using PlanA = TilePlan<Precision::float32, A, kTileRows<Precision::float32>>;
  using PlanB = TilePlan<Precision::float32, B, kTileColumns>;
  float sums[4][4] = {};
  int i, j;  // of the 16 x 16 threads; a warp is 4 x 8 of them, so that it reads few different lines

  __device__ __forceinline__ TileSums() {
    const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
    i = warp / 2 * 4 + lane / 8, j = warp % 2 * 8 + lane % 8;
  }
  /// Four lines per thread: neighbours where lines are contiguous, and else 16 apart, so that the eight threads side by
  /// side read lines t, t + 1, ..., which lie in different banks.
  template <TileLayout L>
  static __device__ __forceinline__ int line(int thread, int k) {
    return L == TileLayout::lines ? thread * 4 + k : thread + k * 16;
  }
  /// v[step][line]: four steps of a thread's four lines, in four accesses.
  template <class Plan, TileLayout L>
  static __device__ __forceinline__ void load(const float* tile, int thread, int step, float (&v)[4][4]) {
    for (int k = 0; k < 4; ++k) {
      const float4 u =
          ld4(tile + (L == TileLayout::lines ? Plan::at(4 * thread, step + k) : Plan::at(line<L>(thread, k), step)));
      const float us[4] = {u.x, u.y, u.z, u.w};
      for (int e = 0; e < 4; ++e) (L == TileLayout::lines ? v[k][e] : v[e][k]) = us[e];
    }
  }
  __device__ __forceinline__ void add(const float* a, const float* b) {
    for (int s = 0; s < kTileDepth; s += 4) {
      float x[4][4], y[4][4];
      load<PlanA, A>(a, i, s, x);
      load<PlanB, B>(b, j, s, y);
      for (int k = 0; k < 4; ++k)
        for (int r = 0; r < 4; ++r)
          for (int c = 0; c < 4; ++c) sums[r][c] += x[k][r] * y[k][c];
    }
  }
  template <int Pitch>
  __device__ __forceinline__ void store(float* c) const {
    for (int r = 0; r < 4; ++r) {
      float* row = c + line<A>(i, r) * Pitch;
      if constexpr (B == TileLayout::lines && Pitch % 4 == 0)
        st4(row + 4 * j, make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]));
      else
        for (int k = 0; k < 4; ++k) row[line<B>(j, k)] = sums[r][k];
    }
  }
};

/// The sum of squares of each line of a factor, from the tiles that are there anyway. A few threads share a line, each
/// with steps of its own.
template <class Plan, int Lines>
struct LineSquares {
  static constexpr int kParts = kTileThreads / Lines, kSteps = kTileDepth / kParts;
  float sum = 0;

  __device__ __forceinline__ void add(const float* tile) {
    const int line = int(threadIdx.x) % Lines, first = int(threadIdx.x) / Lines * kSteps;
    for (int s = 0; s < kSteps; ++s) {
      const float v = tile[Plan::at(line, first + s)];
      sum += v * v;
    }
  }
  /// All threads of the block take part. @param memory  (kTileThreads) of shared memory that nobody uses
  __device__ __forceinline__ void store(float* memory, float* to, int64_t lines) const {
    memory[threadIdx.x] = sum;
    __syncthreads();
    if (int(threadIdx.x) < Lines && int(threadIdx.x) < lines) {
      float total = 0;
      for (int i = 0; i < kParts; ++i) total += memory[i * Lines + int(threadIdx.x)];
      to[threadIdx.x] = total;
    }
    __syncthreads();
  }
};
template <class Problem>
inline constexpr bool kWithSquares = false;

/// Floats of shared memory: pairs of tiles in a ring, and later c's tile in the same place.
template <Precision P, class Problem>
struct TileMemory {
  using Sums = TileSums<P, Problem::kA, Problem::kB>;
  static constexpr int kPair = Sums::PlanA::kFloats + Sums::PlanB::kFloats;
  static constexpr int kPitch = kPitchC<Problem::kTurned>, kTileC = kTileRows<P> * kPitch;
  static constexpr int kPairs = kTileRing * kPair, kFloats = kPairs > kTileC ? kPairs : kTileC;
};

/// One product, or several of one size, as a struct that has
///
///     kA, kB, kWidth         how the factors lie; 4 where neighbours come in aligned fours, else 1
///     kTurned                whether c's rows lie side by side in memory, not its columns
///     rows, columns, steps   of each product
///     a(product), b(product) sources
///     result, bias_step      where sums go; columns from one product's bias to the next one's
///     to(product, slot, i)   the offset of row i of c, or of column i when turned
///     squares                where kWithSquares<Problem> says so: (slots, products, rows + columns) for the sums of
///                            squares of a's and b's lines; or null
///
/// grid (products, each ceil(rows / kTileRows) ceil(columns / kTileColumns); slots), block kTileThreads. Slot i adds up
/// its share of the steps; with one slot these are all.
template <Precision P, class Problem>
__global__ void __launch_bounds__(kTileThreads, 2) tile_product(const Problem p) {
  constexpr TileLayout A = Problem::kA, B = Problem::kB;
  using Memory = TileMemory<P, Problem>;
  using Sums = typename Memory::Sums;
  constexpr int kPair = Memory::kPair, kPitch = Memory::kPitch, kBehindA = Sums::PlanA::kFloats;
  CLEARSKY_DYNAMIC_SHARED(float, memory);

  // There are fewer than 2^31 blocks, so tiles are counted with 32 bits.
  const unsigned across = unsigned((p.columns + kTileColumns - 1) / kTileColumns);
  const unsigned tiles_of_c = unsigned((p.rows + kTileRows<P> - 1) / kTileRows<P>) * across;
  const unsigned product = blockIdx.x / tiles_of_c, tile = blockIdx.x % tiles_of_c;
  const int64_t first_row = int64_t(tile / across) * kTileRows<P>, first_column = int64_t(tile % across) * kTileColumns;
  const int64_t slot = blockIdx.y, slots = gridDim.y, pairs = (p.steps + kTileDepth - 1) / kTileDepth;
  const int64_t first = pairs * slot / slots;
  const int count = int(pairs * (slot + 1) / slots - first);

  const auto a = p.a(product);
  const auto b = p.b(product);
  TileFetch<std::remove_const_t<decltype(a)>, typename Sums::PlanA, A, Problem::kWidth, kTileRows<P>> fetch_a(
      a, first_row, first * kTileDepth);
  TileFetch<std::remove_const_t<decltype(b)>, typename Sums::PlanB, B, Problem::kWidth, kTileColumns> fetch_b(
      b, first_column, first * kTileDepth);
  Sums sums;
  [[maybe_unused]] LineSquares<typename Sums::PlanA, kTileRows<P>> squares_of_a;
  [[maybe_unused]] LineSquares<typename Sums::PlanB, kTileColumns> squares_of_b;
  const auto fetch = [&](int i, int place) {
    if (i < count) {
      fetch_a(a, memory + place * kPair);
      fetch_b(b, memory + place * kPair + kBehindA);
    }
    cp_commit();  // at the end an empty group, so that the wait below is right in every round
  };
  for (int i = 0; i < kTileRing - 1; ++i) fetch(i, i);
  int place = 0, before = kTileRing - 1;  // of this pair, and of the one before it
  for (int i = 0; i < count; ++i) {
    cp_wait<kTileRing - 2>();
    __syncthreads();  // everyone's part of this pair has arrived, and nobody reads the one before it any more
    fetch(i + kTileRing - 1, before);
    sums.add(memory + place * kPair, memory + place * kPair + kBehindA);
    if constexpr (kWithSquares<Problem>) {
      if (p.squares != nullptr && first_column == 0) squares_of_a.add(memory + place * kPair);
      if (p.squares != nullptr && first_row == 0) squares_of_b.add(memory + place * kPair + kBehindA);
    }
    before = place;
    place = place + 1 == kTileRing ? 0 : place + 1;
  }
  __syncthreads();  // nobody reads the last pair any more

  if constexpr (kWithSquares<Problem>) {
    if (p.squares != nullptr) {
      const int64_t products = gridDim.x / tiles_of_c;
      float* to = p.squares + (slot * products + product) * (p.rows + p.columns);
      if (first_column == 0) squares_of_a.store(memory, to + first_row, p.rows - first_row);
      if (first_row == 0) squares_of_b.store(memory, to + p.rows + first_column, p.columns - first_column);
    }
  }

  // By way of shared memory the sums come to those threads that write neighbours.
  sums.template store<kPitch>(memory);
  __syncthreads();
  const int64_t first_bias = product * p.bias_step;
  if constexpr (Problem::kTurned) {
    for (int e = int(threadIdx.x); e < kTileRows<P> * kTileColumns; e += kTileThreads) {
      const int64_t row = first_row + e % kTileRows<P>, column = first_column + e / kTileRows<P>;
      if (row < p.rows && column < p.columns)
        p.result.write(memory + e % kTileRows<P> * kPitch + e / kTileRows<P>, p.to(product, slot, column) + row,
                       first_bias + column);
    }
  } else {
    const int width = p.result.fours ? 4 : 1;  // rows of c begin aligned and come in fours
    for (int e = int(threadIdx.x) * width; e < kTileRows<P> * kTileColumns; e += kTileThreads * width) {
      const int64_t row = first_row + e / kTileColumns, column = first_column + e % kTileColumns;
      if (row >= p.rows || column >= p.columns) continue;
      const float* from = memory + e / kTileColumns * kPitch + e % kTileColumns;
      const int64_t at = p.to(product, slot, row) + column;
      if (width == 4) p.result.write4(from, at, first_bias + column);
      else p.result.write(from, at, first_bias + column);
    }
  }
}

template <class Problem>
void launch_tile_product(const Problem& p, Precision precision, int64_t products, int64_t slots, Stream stream) {
  const auto with = [&]<Precision P>() {
    const int64_t down = (p.rows + kTileRows<P> - 1) / kTileRows<P>;
    const int64_t across = (p.columns + kTileColumns - 1) / kTileColumns;
    const dim3 grid(blocks_of(down * across * products, 1), unsigned(slots));
    constexpr size_t kBytes = TileMemory<P, Problem>::kFloats * sizeof(float);
    if constexpr (kBytes > 48 * 1024) allow_shared(tile_product<P, Problem>, kBytes);
    launch(tile_product<P, Problem>, grid, kTileThreads, kBytes, stream, p);
  };
  if (precision == Precision::float32) with.template operator()<Precision::float32>();
  else if (precision == Precision::tf32) with.template operator()<Precision::tf32>();
  else with.template operator()<Precision::bfloat16>();
}

/// Slots for a sum of so many steps: enough blocks for a large device where c alone has few tiles, and each with
/// enough steps to be worth its share of the workspace. Depends on sizes only, so that the bits do.
inline int64_t step_slots(int64_t rows, int64_t columns, int64_t steps, int64_t products) {
  const int64_t tiles = (rows + 63) / 64 * ((columns + 63) / 64) * products;
  const int64_t wanted = tiles == 0 ? 1 : 256 / tiles, most = steps / 512;
  const int64_t slots = wanted < most ? wanted : most;
  return slots < 1 ? 1 : slots;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
