// A study of scaled dot-product attention: from a matrix of scores in memory to the library's kernel, which has none.
// docs/kernels/attention.md goes through its output.
//
//     s_ij = scale sum over c of q_ic k_jc       p_ij = e^s_ij / sum over j of e^s_ij       y_ic = sum over j of p_ij
//     v_jc

#include "clearsky/cuda/kernels/attention.cuh"
#include "study.hpp"

namespace clearsky::cuda {
namespace {

constexpr int kTokensAll = 256;       // queries, and keys
constexpr int kWidth = 32;            // channels of a token: as many as a warp has lanes
constexpr float kScale = 0.1767767f;  // 1 / sqrt(kWidth)
constexpr int kThreads = 256, kWarps = kThreads / kWarp;

struct Arguments {
  const float *q, *k, *v;  // (kTokensAll, kWidth)
  float* y;                // (kTokensAll, kWidth)  written
};

// 1. Three kernels, with the scores in memory.

/// A thread per score; neighbouring threads have neighbouring keys of one query.
/// grid (kTokensAll kTokensAll / kThreads), block kThreads
__global__ void __launch_bounds__(kThreads) attention_scores(const Arguments p, float* scores) {
  const int at = int(blockIdx.x) * kThreads + int(threadIdx.x), i = at / kTokensAll, j = at % kTokensAll;
  float sum = 0;
  for (int c = 0; c < kWidth; ++c) {
    const float q = p.q[i * kWidth + c];
    const float k = p.k[j * kWidth + c];
    sum += q * k;
  }
  scores[at] = kScale * sum;
}

/// In place; a warp per query. The largest score is taken off, so that no e^s overflows.
/// grid (kTokensAll / kWarps), block kThreads
__global__ void __launch_bounds__(kThreads) attention_softmax(float* scores) {
  const int lane = int(threadIdx.x) % kWarp;
  float* row = scores + (int(blockIdx.x) * kWarps + int(threadIdx.x) / kWarp) * kTokensAll;
  float top = -INFINITY;
  for (int j = lane; j < kTokensAll; j += kWarp) top = fmaxf(top, row[j]);
  top = warp_max(top);
  float total = 0;
  for (int j = lane; j < kTokensAll; j += kWarp) total += expf(row[j] - top);
  total = warp_sum(total);
  for (int j = lane; j < kTokensAll; j += kWarp) row[j] = expf(row[j] - top) / total;
}

/// A thread per value of y; neighbouring threads have neighbouring channels of one query.
/// grid (kTokensAll kWidth / kThreads), block kThreads
__global__ void __launch_bounds__(kThreads) attention_product(const Arguments p, const float* weights) {
  const int at = int(blockIdx.x) * kThreads + int(threadIdx.x), i = at / kWidth, c = at % kWidth;
  float sum = 0;
  for (int j = 0; j < kTokensAll; ++j) {
    const float weight = weights[i * kTokensAll + j];
    const float v = p.v[j * kWidth + c];
    sum += weight * v;
  }
  p.y[at] = sum;
}

// 2. One kernel: the softmax runs along with the keys, 32 at a time, and no score leaves the registers.

/// What is known of a query's softmax after some of its keys.
struct Running {
  float top = -INFINITY;  ///< the largest score
  float total = 0;        ///< the sum of e^(score - top)

  /// Takes in 32 scores, one per lane. Returns e^(score - top) of this lane's; `shrink` is what all that was added
  /// before must be multiplied with, now that the largest score may be another.
  __device__ __forceinline__ float take(float score, float& shrink) {
    const float new_top = fmaxf(top, warp_max(score)), weight = expf(score - new_top);
    shrink = expf(top - new_top);  // 0 at first: e^-inf
    total = total * shrink + warp_sum(weight);
    top = new_top;
    return weight;
  }
};

/// A warp per query. Its lane is a key of the 32 for the scores, and a channel of y for the sums.
/// grid (kTokensAll / kWarps), block kThreads
__global__ void __launch_bounds__(kThreads) attention_online(const Arguments p) {
  const int lane = int(threadIdx.x) % kWarp, i = int(blockIdx.x) * kWarps + int(threadIdx.x) / kWarp;
  Running softmax;
  float sum = 0;
  for (int first = 0; first < kTokensAll; first += kWarp) {
    float score = 0;
    for (int c = 0; c < kWidth; ++c) {
      const float q = p.q[i * kWidth + c];
      const float k = p.k[(first + lane) * kWidth + c];
      score += q * k;
    }
    float shrink;
    const float weight = softmax.take(kScale * score, shrink);
    sum *= shrink;
    for (int j = 0; j < kWarp; ++j) {
      const float v = p.v[(first + j) * kWidth + lane];
      sum += __shfl_sync(kAllLanes, weight, j) * v;
    }
  }
  p.y[i * kWidth + lane] = sum / softmax.total;
}

// 3. The same with tiles of keys and values in shared memory, for 32 queries at a time.

constexpr int kTile = 32, kEach = kTile / kWarps;  // tokens of a tile, and queries of a warp
/// Of keys: an odd number of 16 bytes, so that the same channels of eight keys lie in different banks.
constexpr int kPitch = kWidth + 4;

/// A block has kTile queries, a warp kEach of them. While one pair of tiles is worked on, the next one arrives.
/// grid (kTokensAll / kTile), block kThreads
__global__ void __launch_bounds__(kThreads, 2) attention_tiles(const Arguments p) {
  CLEARSKY_SHARED(float, queries, [kTile][kWidth]);
  CLEARSKY_SHARED(float, keys, [2][kTile][kPitch]);
  CLEARSKY_SHARED(float, values, [2][kTile][kWidth]);
  CLEARSKY_SHARED(float, weights, [kTile][kTile]);  // of a warp's queries: no other warp uses them
  const int lane = int(threadIdx.x) % kWarp, first_query = int(threadIdx.x) / kWarp * kEach;
  const int token = int(threadIdx.x) / 8, channel = int(threadIdx.x) % 8 * 4;  // what this thread copies of a tile
  const int block = int(blockIdx.x) * kTile;
  const auto fetch = [&](int tile) {
    if (tile < kTokensAll / kTile) {
      const int from = (tile * kTile + token) * kWidth + channel;
      cp_async16(&keys[tile % 2][token][channel], p.k + from);
      cp_async16(&values[tile % 2][token][channel], p.v + from);
    }
    cp_commit();  // behind the last tile an empty group, so that the wait below is right in every round
  };
  cp_async16(&queries[token][channel], p.q + (block + token) * kWidth + channel);
  fetch(0);
  Running softmax[kEach];
  float sums[kEach] = {};
  for (int tile = 0; tile < kTokensAll / kTile; ++tile) {
    fetch(tile + 1);
    cp_wait<1>();
    __syncthreads();  // everyone's part of this pair has arrived
    float scores[kEach] = {};
    for (int c = 0; c < kWidth; c += 4) {
      const float4 k = ld4(&keys[tile % 2][lane][c]);
      for (int r = 0; r < kEach; ++r) {
        const float4 q = ld4(&queries[first_query + r][c]);
        scores[r] += q.x * k.x + q.y * k.y + q.z * k.z + q.w * k.w;
      }
    }
    for (int r = 0; r < kEach; ++r) {
      float shrink;
      weights[first_query + r][lane] = softmax[r].take(kScale * scores[r], shrink);
      sums[r] *= shrink;
    }
    __syncwarp();  // all of the warp's weights are there
    for (int j = 0; j < kTile; j += 4) {
      float v[4];
      for (int e = 0; e < 4; ++e) v[e] = values[tile % 2][j + e][lane];
      for (int r = 0; r < kEach; ++r) {
        const float4 w = ld4(&weights[first_query + r][j]);
        sums[r] += w.x * v[0] + w.y * v[1] + w.z * v[2] + w.w * v[3];
      }
    }
    __syncthreads();  // nobody reads this pair any more, nor the weights
  }
  for (int r = 0; r < kEach; ++r) p.y[(block + first_query + r) * kWidth + lane] = sums[r] / softmax[r].total;
}

// 4. The library's kernel, and the study.

/// What is expected, and the error that rounding allows.
struct Expected {
  std::vector<double> y, allowed;
};

Expected expect(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v) {
  Expected e;
  const auto at = [](int token, int c) { return size_t(token * kWidth + c); };
  for (int i = 0; i < kTokensAll; ++i) {
    std::vector<double> weight(kTokensAll);
    double total = 0, largest = 0;  // the latter of scale |q| |k|
    for (int j = 0; j < kTokensAll; ++j) {
      double score = 0, magnitude = 0;
      for (int c = 0; c < kWidth; ++c) {
        const double product = kScale * double(q[at(i, c)]) * k[at(j, c)];
        score += product, magnitude += std::abs(product);
      }
      weight[size_t(j)] = std::exp(score);  // scores of these inputs are small
      total += weight[size_t(j)], largest = (std::max)(largest, magnitude);
    }
    // Fewer than 100 roundings in a score and what is taken off it, each of at most `largest`, change a weight by as
    // many shares of it; so do fewer than 100 in e^ and what it is multiplied with. Then two sums, and a division.
    const double bound = study::float_sum_bound(100) * (2 * largest + 1) + study::float_sum_bound(2 * kTokensAll + 100);
    for (int c = 0; c < kWidth; ++c) {
      double sum = 0, magnitude = 0;
      for (int j = 0; j < kTokensAll; ++j) {
        sum += weight[size_t(j)] / total * v[at(j, c)];
        magnitude += weight[size_t(j)] / total * std::abs(v[at(j, c)]);
      }
      e.y.push_back(sum), e.allowed.push_back(bound * magnitude);
    }
  }
  return e;
}

int study_all() {
  constexpr int kCount = kTokensAll * kWidth, kScores = kTokensAll * kTokensAll;
  const std::vector<float> q = study::draw(kCount, 1), k = study::draw(kCount, 2), v = study::draw(kCount, 3);
  const Expected expected = expect(q, k, v);
  const DeviceArray<float> device_q(q.data(), kCount), device_k(k.data(), kCount), device_v(v.data(), kCount);
  // For each score 2 kWidth operations, as many again for the product, and 5 for scale and softmax.
  study::Versions versions(4 * 4 * kCount, int64_t(kScores) * (4 * kWidth + 5));
  const auto look_at = [&](const char* title, study::Show show, auto&& attend) {
    const DeviceArray<float> y(kCount);
    versions.look_at(title, show, [&] {
      attend(Arguments{device_q.data(), device_k.data(), device_v.data(), y.data()});
    });
    versions.check(y, expected.y, expected.allowed);
  };
  using study::Show;
  look_at("three kernels", Show::lines, [](const Arguments& p) {
    const DeviceArray<float> scores(kScores);
    launch(attention_scores, kScores / kThreads, kThreads, 0, nullptr, p, scores.data());
    launch(attention_softmax, kTokensAll / kWarps, kThreads, 0, nullptr, scores.data());
    launch(attention_product, kCount / kThreads, kThreads, 0, nullptr, p, scores.data());
  });
  look_at("one, a warp per query", Show::lines,
          [](const Arguments& p) { launch(attention_online, kTokensAll / kWarps, kThreads, 0, nullptr, p); });
  look_at("one, with tiles", Show::lines,
          [](const Arguments& p) { launch(attention_tiles, kTokensAll / kTile, kThreads, 0, nullptr, p); });
  look_at("library", Show::sums, [](const Arguments& p) {
    const DeviceArray<float> lse(kTokensAll);  // the logarithm of each query's sum: its backward needs it
    const cpu::AttentionShape shape{1, 1, kTokensAll, kTokensAll, kWidth, kScale, false};
    attention_forward({p.q, p.k, p.v, p.y, lse.data(), {}, shape}, nullptr);
  });
  return versions.compare();
}

}  // namespace
}  // namespace clearsky::cuda

int main() {
  return clearsky::cuda::study_all() == 0 ? 0 : 1;
}
