#pragma once
// Depthwise convolution with 3x3 windows, stride 1 and padding 1, and its gradients: one pass over the bytes.
//
// A block takes kStripChannels channels of kStripColumns columns and walks down a strip of rows. Each row comes once,
// by cp.async, into a ring in shared memory, several rows ahead of its use, with a column more on either side; what
// lies outside the image arrives as zeros. A row adds to three rows of results, which stay in registers:
//
//     y(h, w) = bias + sum_{i, j} x(h + i - 1, w + j - 1) taps(i, j)      dx: of dy, with the taps turned round
//     dtaps(i, j) = sum_{h, w} x(h + i - 1, w + j - 1) dy(h, w)
//
// Threads side by side hold neighbouring channels, four each where the channels come in fours. With 32 rows in a strip
// an input is read (34 / 32)^2 = 1.13 times; in weight gradients dy is read once.

#include "clearsky/cuda/kernels/epilogue.cuh"
#include "clearsky/cuda/kernels/windows.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

inline constexpr int kStripChannels = 32;  ///< channels of a block
inline constexpr int kStripColumns = 32;   ///< columns of a block
inline constexpr int kStripThreads = 256;
inline constexpr int kRowsAhead = 3;  ///< rows on their way while one is used
inline constexpr int kRowRing = kRowsAhead + 1;

/// The strips of some images, as units: (batch, strips, column tiles).
struct Strips {
  int batch, height, width, channels;
  int rows;  // of a strip

  __host__ __device__ int strips() const { return (height + rows - 1) / rows; }
  __host__ __device__ int tiles() const { return (width + kStripColumns - 1) / kStripColumns; }
  __host__ __device__ int chunks() const { return (channels + kStripChannels - 1) / kStripChannels; }
  __host__ __device__ int64_t units() const { return int64_t(batch) * strips() * tiles(); }
};

/// Where a unit begins.
struct Strip {
  int image, first_row, last_row, first_column;
  __device__ __forceinline__ Strip(const Strips& s, int64_t unit) {
    const int tiles = s.tiles(), strips = s.strips();
    first_column = int(unit % tiles) * kStripColumns;
    first_row = int(unit / tiles % strips) * s.rows;
    last_row = first_row + s.rows < s.height ? first_row + s.rows : s.height;
    image = int(unit / tiles / strips);
  }
};

/// How the threads of a block share kStripChannels channels of kStripColumns columns: kPixels columns each, kDown
/// apart.
template <int Width>
struct StripThreads {
  static constexpr int kLanes = kStripChannels / Width, kDown = kStripThreads / kLanes, kPixels = kStripColumns / kDown;
  int lane, column;
  __device__ __forceinline__ StripThreads() {
    lane = int(threadIdx.x) % kLanes;
    column = int(threadIdx.x) / kLanes;
  }
};

/// Asks for row `row` of an image from `first_column` on: (Columns, kStripChannels) in shared memory.
template <int Width, int Columns>
__device__ __forceinline__ void fetch_row(float* to, const float* x, const Strips& s, int image, int row,
                                          bool inside_row, int first_column, int first_channel) {
  constexpr int kLanes = kStripChannels / Width;
  for (int e = int(threadIdx.x); e < Columns * kLanes; e += kStripThreads) {
    const int column = first_column + e / kLanes, channel = first_channel + e % kLanes * Width;
    const bool inside = inside_row && unsigned(column) < unsigned(s.width) && channel < s.channels;
    const int64_t pixel = (int64_t(image) * s.height + row) * s.width + column;
    const float* from = inside ? x + pixel * s.channels + channel : x;
    if constexpr (Width == 4) cp_async16(to + e * Width, from, inside ? 16 : 0);
    else cp_async4(to + e * Width, from, inside ? 4 : 0);
  }
}

/// Width neighbours, in one access.
template <int Width>
__device__ __forceinline__ void load_channels(float (&v)[Width], const float* from) {
  if constexpr (Width == 4) {
    const float4 u = ld4(from);
    v[0] = u.x, v[1] = u.y, v[2] = u.z, v[3] = u.w;
  } else {
    v[0] = *from;
  }
}

struct Depthwise3x3 {
  const float* x;       // (batch, height, width, channels)
  const float* weight;  // (channels, 3, 3)
  const float* bias;    // (channels), or null
  float* y;             // (batch, height, width, channels)  written
  Strips strips;
  bool mirrored;  // whether the taps are turned round, as in the data gradient
};

/// grid (units x chunks, chunks running fastest), block kStripThreads
template <int Width>
__global__ void __launch_bounds__(kStripThreads) depthwise3x3(const Depthwise3x3 p) {
  using Threads = StripThreads<Width>;
  constexpr int kColumns = kStripColumns + 2, kPixels = Threads::kPixels;
  CLEARSKY_SHARED(float, ring, [kRowRing][kColumns * kStripChannels]);
  const Strips& s = p.strips;
  const Threads thread;
  const Strip strip(s, blockIdx.x / unsigned(s.chunks()));
  const int first_channel = int(blockIdx.x % unsigned(s.chunks())) * kStripChannels;
  const int channel = first_channel + thread.lane * Width;

  float taps[9][Width], bias[Width];
  for (int v = 0; v < Width; ++v) {
    const bool inside = channel + v < s.channels;
    for (int t = 0; t < 9; ++t)
      taps[t][v] = inside ? p.weight[int64_t(channel + v) * 9 + (p.mirrored ? 8 - t : t)] : 0.0f;
    bias[v] = inside && p.bias != nullptr ? p.bias[channel + v] : 0.0f;
  }

  // The strip's row i of x is the image's row first_row - 1 + i.
  const int rows = strip.last_row - strip.first_row + 2;
  const auto fetch = [&](int i) {
    const int row = strip.first_row - 1 + i;
    if (i < rows)
      fetch_row<Width, kColumns>(ring[i % kRowRing], p.x, s, strip.image, row, unsigned(row) < unsigned(s.height),
                                 strip.first_column - 1, first_channel);
    cp_commit();  // also an empty group, so that the wait below is right in every round
  };
  for (int i = 0; i < kRowsAhead; ++i) fetch(i);

  float sums[3][kPixels][Width];  // of the rows of results above, at and below this row
  for (int i = 0; i < 3; ++i)
    for (int q = 0; q < kPixels; ++q)
      for (int v = 0; v < Width; ++v) sums[i][q][v] = bias[v];
  for (int r = 0; r < rows; ++r) {
    cp_wait<kRowsAhead - 1>();
    __syncthreads();  // this row has arrived for everyone, and nobody reads the one before it any more
    fetch(r + kRowsAhead);
    const float* row = ring[r % kRowRing];
    for (int q = 0; q < kPixels; ++q) {
      const int column = thread.column + q * Threads::kDown;
      for (int j = 0; j < 3; ++j) {
        float x[Width];
        load_channels(x, row + (column + j) * kStripChannels + thread.lane * Width);
        for (int i = 0; i < 3; ++i)
          for (int v = 0; v < Width; ++v) sums[i][q][v] += taps[(2 - i) * 3 + j][v] * x[v];
      }
      // Row r - 2 of the results had its last tap.
      const int64_t pixel =
          (int64_t(strip.image) * s.height + strip.first_row + r - 2) * s.width + strip.first_column + column;
      if (r >= 2 && strip.first_column + column < s.width && channel < s.channels) {
        float* to = p.y + pixel * s.channels + channel;
        if constexpr (Width == 4) st4(to, make_float4(sums[0][q][0], sums[0][q][1], sums[0][q][2], sums[0][q][3]));
        else *to = sums[0][q][0];
      }
      for (int v = 0; v < Width; ++v)
        sums[0][q][v] = sums[1][q][v], sums[1][q][v] = sums[2][q][v], sums[2][q][v] = bias[v];
    }
  }
}

struct Depthwise3x3Weight {
  const float* x;   // (batch, height, width, channels)
  const float* dy;  // (batch, height, width, channels)
  float* parts;     // (slots, channels, 3, 3)  written
  Strips strips;
};

/// grid (chunks, slots), block kStripThreads; a slot adds up its share of the units.
template <int Width>
__global__ void __launch_bounds__(kStripThreads, 2) depthwise3x3_weight(const Depthwise3x3Weight p) {
  using Threads = StripThreads<Width>;
  constexpr int kColumns = kStripColumns + 2, kPixels = Threads::kPixels, kWarps = kStripThreads / kWarp;
  CLEARSKY_SHARED(float, x_ring, [kRowRing][kColumns * kStripChannels]);
  CLEARSKY_SHARED(float, dy_ring, [kRowRing][kStripColumns * kStripChannels]);
  const Strips& s = p.strips;
  const Threads thread;
  const int first_channel = int(blockIdx.x) * kStripChannels;
  const int64_t slot = blockIdx.y, slots = gridDim.y, units = s.units();

  float sums[9][Width] = {};
  for (int64_t unit = units * slot / slots; unit < units * (slot + 1) / slots; ++unit) {
    const Strip strip(s, unit);
    const int rows = strip.last_row - strip.first_row + 2;
    const auto fetch = [&](int i) {  // x at the row above dy's
      const int row = strip.first_row + i;
      if (i < rows) {
        fetch_row<Width, kColumns>(x_ring[i % kRowRing], p.x, s, strip.image, row - 1,
                                   unsigned(row - 1) < unsigned(s.height), strip.first_column - 1, first_channel);
        fetch_row<Width, kStripColumns>(dy_ring[i % kRowRing], p.dy, s, strip.image, row, row < strip.last_row,
                                        strip.first_column, first_channel);
      }
      cp_commit();
    };
    for (int i = 0; i < kRowsAhead; ++i) fetch(i);

    float dy[3][kPixels][Width] = {};  // rows above, at and below the row of x
    for (int r = 0; r < rows; ++r) {
      cp_wait<kRowsAhead - 1>();
      __syncthreads();  // as in depthwise3x3
      fetch(r + kRowsAhead);
      for (int q = 0; q < kPixels; ++q) {
        const int column = thread.column + q * Threads::kDown;
        for (int v = 0; v < Width; ++v) dy[0][q][v] = dy[1][q][v], dy[1][q][v] = dy[2][q][v];
        load_channels(dy[2][q], dy_ring[r % kRowRing] + column * kStripChannels + thread.lane * Width);
        for (int j = 0; j < 3; ++j) {
          float x[Width];
          load_channels(x, x_ring[r % kRowRing] + (column + j) * kStripChannels + thread.lane * Width);
          for (int i = 0; i < 3; ++i)
            for (int v = 0; v < Width; ++v) sums[i * 3 + j][v] += dy[2 - i][q][v] * x[v];
        }
      }
    }
    __syncthreads();  // the next unit fetches into the same ring
  }

  // Over the columns of a warp, then over the warps. With this pitch, what a warp reads below lies in different banks.
  constexpr int kPitch = kStripChannels + 4;
  static_assert(kWarps * 9 * kPitch <= int(sizeof x_ring / sizeof(float)));
  float(*totals)[9][kPitch] = reinterpret_cast<float(*)[9][kPitch]>(&x_ring[0][0]);
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  for (int t = 0; t < 9; ++t)
    for (int v = 0; v < Width; ++v) {
      float total = sums[t][v];
      for (int lanes = Threads::kLanes; lanes < kWarp; lanes *= 2) total += __shfl_xor_sync(kAllLanes, total, lanes);
      if (lane < Threads::kLanes) totals[warp][t][lane * Width + v] = total;
    }
  __syncthreads();
  for (int e = int(threadIdx.x); e < 9 * kStripChannels; e += kStripThreads) {
    if (first_channel + e / 9 >= s.channels) continue;
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += totals[w][e % 9][e / 9];
    p.parts[(slot * s.channels + first_channel) * 9 + e] = total;
  }
}

/// Strips as long as leave enough blocks for a large device: depends on sizes only.
inline Strips strips_of(const cpu::ConvShape& s) {
  Strips strips{int(s.batch), int(s.height), int(s.width), int(s.channels), 32};
  while (strips.rows > 8 && strips.units() * strips.chunks() < 512) strips.rows /= 2;
  return strips;
}

/// Slots of the weight gradient: enough blocks for a large device.
inline int64_t strip_slots(const Strips& s) {
  if (s.channels == 0) return 0;
  const int64_t wanted = (511 + s.chunks()) / s.chunks(), units = s.units();
  return units < wanted ? units : wanted;
}

/// Whether pixels can be accessed four channels at a time.
inline bool channels_in_fours(int64_t channels, const float* a, const float* b) {
  return channels % 4 == 0 && reinterpret_cast<uintptr_t>(a) % 16 == 0 && reinterpret_cast<uintptr_t>(b) % 16 == 0;
}

inline void launch_depthwise3x3(const float* x, const float* weight, const float* bias, float* y,
                                const cpu::ConvShape& s, bool mirrored, Stream stream) {
  const Strips strips = strips_of(s);
  const Depthwise3x3 p{x, weight, bias, y, strips, mirrored};
  const auto kernel = channels_in_fours(s.channels, x, y) ? depthwise3x3<4> : depthwise3x3<1>;
  launch(kernel, dim3(blocks_of(strips.units() * strips.chunks(), 1)), kStripThreads, 0, stream, p);
}

/// @param workspace  (strip_slots(strips_of(s)), channels, 9)  overwritten
inline void launch_depthwise3x3_weight(const float* x, const float* dy, float* dweight, const cpu::ConvShape& s,
                                       float* workspace, Stream stream) {
  const Strips strips = strips_of(s);
  const int64_t slots = strip_slots(strips), count = s.channels * 9;
  const Depthwise3x3Weight p{x, dy, workspace, strips};
  const auto kernel = channels_in_fours(s.channels, x, dy) ? depthwise3x3_weight<4> : depthwise3x3_weight<1>;
  if (slots > 0) launch(kernel, dim3(unsigned(strips.chunks()), unsigned(slots)), kStripThreads, 0, stream, p);
  launch_add_slots({workspace, dweight, slots, count, count, {}}, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
