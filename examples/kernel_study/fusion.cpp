// A study of fusing kernels, on the prompt-guided fusion: from one kernel per operation to the library's one kernel for
// all. docs/kernels/fusion.md goes through its output.
//
//     s = A + resize(Q)              A and s per pixel and channel; Q smaller, bilinear
//     b = DW3x3(s) + bias            a 3 x 3 window for each channel, zeros outside the image
//     G = sigmoid(context + b)       context per channel
//     y = O + G (S - O)

#include "clearsky/cuda/kernels/prompt_fusion.cuh"
#include "study.hpp"

namespace clearsky::cuda {
namespace {

constexpr int kSide = 32, kPixels = kSide * kSide, kPromptSide = 8, kChannels = 32;
constexpr int kValues = kPixels * kChannels;
constexpr int kThreads = 256;

struct Arguments {
  const float *optical, *sar, *projected;  // (kSide, kSide, kChannels)              O, S, A
  const float* prompt;                     // (kPromptSide, kPromptSide, kChannels)  Q
  const float *context, *bias;             // (kChannels)
  const float* weight;                     // (kChannels, 3, 3)
  float* y;                                // (kSide, kSide, kChannels)  written
};

/// Pixel i of a side lies between two pixels of the prompt: (1 - share) first + share second.
struct Between {
  int first, second;
  float share;
};
__host__ __device__ __forceinline__ Between between(int i) {
  const float at = (float(i) + 0.5f) * (float(kPromptSide) / float(kSide)) - 0.5f, inside = at < 0 ? 0 : at;
  const int first = int(inside), second = first + 1 < kPromptSide ? first + 1 : first;
  return {first, second, inside - float(first)};
}

/// resize(Q) at one pixel.
__host__ __device__ __forceinline__ float resized(const float* prompt, int row, int column, int channel) {
  const Between r = between(row), c = between(column);
  const float upper_left = prompt[(r.first * kPromptSide + c.first) * kChannels + channel];
  const float upper_right = prompt[(r.first * kPromptSide + c.second) * kChannels + channel];
  const float lower_left = prompt[(r.second * kPromptSide + c.first) * kChannels + channel];
  const float lower_right = prompt[(r.second * kPromptSide + c.second) * kChannels + channel];
  const float upper = (1 - c.share) * upper_left + c.share * upper_right;
  const float lower = (1 - c.share) * lower_left + c.share * lower_right;
  return (1 - r.share) * upper + r.share * lower;
}

__host__ __device__ __forceinline__ bool is_inside(int row, int column) {
  return row >= 0 && row < kSide && column >= 0 && column < kSide;
}

/// The value of this thread where each has one: neighbouring threads have neighbouring channels.
struct Value {
  int at, channel, row, column;
  __device__ __forceinline__ Value()
      : at(int(blockIdx.x) * kThreads + int(threadIdx.x)),
        channel(at % kChannels),
        row(at / kChannels / kSide),
        column(at / kChannels % kSide) {}
};

// 1. A kernel for each operation. All: grid (kValues / kThreads), block kThreads

__global__ void __launch_bounds__(kThreads) fusion_resize(const float* prompt, float* resized_prompt) {
  const Value v;
  resized_prompt[v.at] = resized(prompt, v.row, v.column, v.channel);
}

__global__ void __launch_bounds__(kThreads) fusion_add(const float* projected, const float* resized_prompt, float* s) {
  const Value v;
  s[v.at] = projected[v.at] + resized_prompt[v.at];
}

/// b at one pixel of s, which lies in global memory.
__device__ __forceinline__ float window_sum(const Arguments& p, const float* s, const Value& v) {
  float sum = p.bias[v.channel];
  for (int tap = 0; tap < 9; ++tap) {
    const int row = v.row + tap / 3 - 1, column = v.column + tap % 3 - 1;
    if (!is_inside(row, column)) continue;
    const float weight = p.weight[v.channel * 9 + tap];
    sum += weight * s[(row * kSide + column) * kChannels + v.channel];
  }
  return sum;
}

__global__ void __launch_bounds__(kThreads) fusion_window(const Arguments p, const float* s, float* b) {
  const Value v;
  b[v.at] = window_sum(p, s, v);
}

__global__ void __launch_bounds__(kThreads) fusion_gate_of(const float* context, const float* b, float* gate) {
  const Value v;
  gate[v.at] = logistic(context[v.channel] + b[v.at]);
}

__global__ void __launch_bounds__(kThreads) fusion_mix(const Arguments p, const float* gate) {
  const Value v;
  const float o = p.optical[v.at];
  const float s = p.sar[v.at];
  p.y[v.at] = o + gate[v.at] * (s - o);
}

// 2. Two kernels: what needs one pixel only goes along with the kernel before or after it.
//    Both: grid (kValues / kThreads), block kThreads

__global__ void __launch_bounds__(kThreads) fusion_resize_add(const Arguments p, float* s) {
  const Value v;
  s[v.at] = p.projected[v.at] + resized(p.prompt, v.row, v.column, v.channel);
}

/// From b on.
__device__ __forceinline__ void gate_and_mix(const Arguments& p, int at, float context, float b) {
  const float o = p.optical[at];
  const float s = p.sar[at];
  p.y[at] = o + logistic(context + b) * (s - o);
}

__global__ void __launch_bounds__(kThreads) fusion_window_gate_mix(const Arguments p, const float* s) {
  const Value v;
  gate_and_mix(p, v.at, p.context[v.channel], window_sum(p, s, v));
}

// 3. One kernel, in which each thread makes the nine values of s that it needs.

/// grid (kValues / kThreads), block kThreads
__global__ void __launch_bounds__(kThreads) fusion_again(const Arguments p) {
  const Value v;
  float b = p.bias[v.channel];
  for (int tap = 0; tap < 9; ++tap) {
    const int row = v.row + tap / 3 - 1, column = v.column + tap % 3 - 1;
    if (!is_inside(row, column)) continue;
    const float weight = p.weight[v.channel * 9 + tap];
    const float a = p.projected[(row * kSide + column) * kChannels + v.channel];
    b += weight * (a + resized(p.prompt, row, column, v.channel));
  }
  gate_and_mix(p, v.at, p.context[v.channel], b);
}

// 4. One kernel, in which a block makes s once for all of its pixels, and a border of one.

constexpr int kRows = 8, kColumns = 16, kAtOnce = kThreads / kChannels;

/// A thread has one channel, and every kAtOnce-th pixel.
/// grid (kSide / kColumns, kSide / kRows), block kThreads
__global__ void __launch_bounds__(kThreads) fusion_tile(const Arguments p) {
  constexpr int kAcross = kColumns + 2, kWithBorder = (kRows + 2) * kAcross;
  CLEARSKY_SHARED(float, s, [kWithBorder][kChannels]);
  CLEARSKY_SHARED(float, weight, [9 * kChannels]);
  const int channel = int(threadIdx.x) % kChannels, first = int(threadIdx.x) / kChannels;
  const int top = int(blockIdx.y) * kRows, left = int(blockIdx.x) * kColumns;
  for (int i = int(threadIdx.x); i < 9 * kChannels; i += kThreads) weight[i] = p.weight[i];
  for (int i = first; i < kWithBorder; i += kAtOnce) {
    const int row = top + i / kAcross - 1, column = left + i % kAcross - 1;
    float value = 0;
    if (is_inside(row, column)) {
      const float a = p.projected[(row * kSide + column) * kChannels + channel];
      value = a + resized(p.prompt, row, column, channel);
    }
    s[i][channel] = value;
  }
  __syncthreads();
  const float context = p.context[channel];
  const float bias = p.bias[channel];
  for (int i = first; i < kRows * kColumns; i += kAtOnce) {
    const int row = i / kColumns, column = i % kColumns;
    float b = bias;
    for (int tap = 0; tap < 9; ++tap) {
      const float w = weight[channel * 9 + tap];
      b += w * s[(row + tap / 3) * kAcross + column + tap % 3][channel];
    }
    gate_and_mix(p, ((top + row) * kSide + left + column) * kChannels + channel, context, b);
  }
}

// 5. The library's kernel, and the study.

struct Inputs {
  std::vector<float> optical = study::draw(kValues, 1), sar = study::draw(kValues, 2),
                     projected = study::draw(kValues, 3),
                     prompt = study::draw(kPromptSide * kPromptSide * kChannels, 4),
                     context = study::draw(kChannels, 5), bias = study::draw(kChannels, 6),
                     weight = study::draw(9 * kChannels, 7);
};

/// What is expected, and the error that rounding allows.
struct Expected {
  std::vector<double> y, allowed;
};

Expected expect(const Inputs& in) {
  const auto rounding = study::float_sum_bound;
  Expected e;
  for (int at = 0; at < kValues; ++at) {
    const int channel = at % kChannels, pixel = at / kChannels, row = pixel / kSide, column = pixel % kSide;
    const auto c = size_t(channel);
    double z = double(in.context[c]) + in.bias[c], magnitude = std::abs(in.context[c]) + std::abs(in.bias[c]);
    for (int tap = 0; tap < 9; ++tap) {
      const int i = row + tap / 3 - 1, j = column + tap % 3 - 1;
      if (!is_inside(i, j)) continue;
      const Between rows = between(i), columns = between(j);  // exact: shares are eighths
      double s = in.projected[size_t((i * kSide + j) * kChannels + channel)], s_magnitude = std::abs(s);
      for (int k = 0; k < 4; ++k) {
        const double share =
            (k / 2 == 0 ? 1.0 - rows.share : rows.share) * (k % 2 == 0 ? 1.0 - columns.share : columns.share);
        const int r = k / 2 == 0 ? rows.first : rows.second, q = k % 2 == 0 ? columns.first : columns.second;
        const double part = share * in.prompt[size_t((r * kPromptSide + q) * kChannels + channel)];
        s += part, s_magnitude += std::abs(part);
      }
      const double weight = in.weight[size_t(channel * 9 + tap)];
      z += weight * s, magnitude += std::abs(weight) * s_magnitude;
    }
    const double o = in.optical[size_t(at)], s = in.sar[size_t(at)], gate = 1 / (1 + std::exp(-z));
    e.y.push_back(o + gate * (s - o));
    // At most 20 roundings up to z; the gate's slope is at most 1/4, and itself it takes fewer than 8; then 4 more.
    const double of_gate = rounding(20) * magnitude / 4 + rounding(8);
    e.allowed.push_back(of_gate * (std::abs(o) + std::abs(s)) + rounding(4) * (2 * std::abs(o) + std::abs(s)));
  }
  return e;
}

int study_all() {
  const Inputs in;
  const Expected expected = expect(in);
  const auto to_device = [](const std::vector<float>& values) {
    return DeviceArray<float>(values.data(), int64_t(values.size()));
  };
  const DeviceArray<float> optical = to_device(in.optical), sar = to_device(in.sar),
                           projected = to_device(in.projected), prompt = to_device(in.prompt),
                           context = to_device(in.context), bias = to_device(in.bias), weight = to_device(in.weight);
  // Bytes of four maps, the prompt, and what each channel has. Operations for each value: 9 for the resizing, 1 for the
  // sum, 18 for the window, 5 for the gate and 3 for the mix.
  study::Versions versions(4 * (4 * kValues + kPromptSide * kPromptSide * kChannels + 11 * kChannels), 36 * kValues);
  const auto look_at = [&](const char* title, study::Show show, auto&& fuse) {
    const DeviceArray<float> y(kValues);
    versions.look_at(title, show, [&] {
      fuse(Arguments{optical.data(), sar.data(), projected.data(), prompt.data(), context.data(), bias.data(),
                     weight.data(), y.data()});
    });
    versions.check(y, expected.y, expected.allowed);
  };
  const auto on_values = [](auto kernel, auto... arguments) {
    launch(kernel, kValues / kThreads, kThreads, 0, nullptr, arguments...);
  };
  using study::Show;
  look_at("five kernels", Show::lines, [&](const Arguments& p) {
    const DeviceArray<float> resized_prompt(kValues), s(kValues), b(kValues), gate(kValues);
    on_values(fusion_resize, p.prompt, resized_prompt.data());
    on_values(fusion_add, p.projected, resized_prompt.data(), s.data());
    on_values(fusion_window, p, s.data(), b.data());
    on_values(fusion_gate_of, p.context, b.data(), gate.data());
    on_values(fusion_mix, p, gate.data());
  });
  look_at("two kernels", Show::lines, [&](const Arguments& p) {
    const DeviceArray<float> s(kValues);
    on_values(fusion_resize_add, p, s.data());
    on_values(fusion_window_gate_mix, p, s.data());
  });
  look_at("one, s made again", Show::lines, [&](const Arguments& p) { on_values(fusion_again, p); });
  look_at("one, s in a tile", Show::lines, [&](const Arguments& p) {
    launch(fusion_tile, dim3(kSide / kColumns, kSide / kRows), kThreads, 0, nullptr, p);
  });
  look_at("library", Show::sums, [&](const Arguments& p) {
    const PromptFusionSizes sizes{1, kSide, kSide, kChannels, kPromptSide, kPromptSide};
    prompt_fusion_forward(
        {p.optical, p.sar, p.projected, p.prompt, p.context, p.weight, p.bias, p.y, nullptr, sizes, true}, nullptr);
  });
  return versions.compare();
}

}  // namespace
}  // namespace clearsky::cuda

int main() {
  return clearsky::cuda::study_all() == 0 ? 0 : 1;
}
