// Times kernels on a device, next to cuBLAS where it is linked, and compares them with the CPU kernels. Prints JSON.
// gpu_benchmarks [COMMIT]. Without a device: one line, exit status 77.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "clearsky/core/philox.hpp"
#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/cuda/kernels/conv.cuh"
#include "clearsky/cuda/kernels/conv_depthwise.cuh"
#include "clearsky/cuda/kernels/gate.cuh"
#include "clearsky/cuda/kernels/gemm.cuh"
#include "clearsky/cuda/kernels/softmax.cuh"
#include "clearsky/cuda/stream.cuh"
#ifdef CLEARSKY_WITH_CUBLAS
#include "clearsky/cuda/cublas.cuh"
#endif

namespace clearsky::cuda {
namespace {

constexpr int kWarmUp = 5, kRepetitions = 30;
double copy_rate = 0;  // bytes/s, read and written
bool first_row = true;

/// The same numbers on both sides.
struct Numbers {
  std::vector<float> host;
  DeviceArray<float> device;
  Numbers(int64_t count, uint64_t seed) : host(draw(count, seed)), device(host.data(), count) {}
  static std::vector<float> draw(int64_t count, uint64_t seed) {
    std::vector<float> v(static_cast<size_t>(count));
    for (size_t i = 0; i < v.size(); ++i) v[i] = float(Key{seed}.uniform(i, -1, 1));
    return v;
  }
};

using Work = std::function<void(Stream)>;

double once(const Work& work, Stream stream) {
  Event start, stop;
  start.record(stream);
  work(stream);
  stop.record(stream);
  stop.wait();
  return double(stop.since(start)) * 1e-3;
}
/// Seconds of ours and of the peer, in turn: both see the same clocks.
void repeat(const Work& ours, const Work& peer, Stream stream, std::vector<double>& a, std::vector<double>& b) {
  for (int i = -kWarmUp; i < kRepetitions; ++i) {
    const double t = once(ours, stream), u = peer ? once(peer, stream) : 0;
    if (i < 0) continue;
    a.push_back(t);
    if (peer) b.push_back(u);
  }
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
}
double median(const std::vector<double>& v) {
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

/// The largest difference over the largest value; infinite where one side is not a number.
double difference(const std::vector<float>& expected, const std::vector<float>& got) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(double(got[i]) - double(expected[i]));
    if (!std::isfinite(d)) return INFINITY;
    worst = (std::max)(worst, d);
    largest = (std::max)(largest, std::abs(double(expected[i])));
  }
  return largest > 0 ? worst / largest : worst;
}

struct Row {
  const char* operation;
  std::string shape;
  Precision precision;
  double bytes, flops;
};
void measure(const Row& row, Numbers& result, const std::function<void()>& reference, const Work& ours,
             const Work& peer, Stream stream) {
  reference();  // fills result.host
  ours(stream);
  synchronize(stream);
  std::vector<float> got(result.host.size());
  result.device.download(got.data());
  std::vector<double> a, b;
  repeat(ours, peer, stream, a, b);
  const double m = median(a), d = difference(result.host, got);
  const char* const precisions[] = {"float32", "tf32", "bfloat16"};
  std::printf(
      "%s\n  {\"operation\": \"%s\", \"shape\": \"%s\", \"precision\": \"%s\", \"median_s\": %.4g, "
      "\"min_s\": %.4g, \"spread_s\": %.4g, \"bytes_per_s\": %.4g, \"of_copy\": %.4g, \"flops_per_s\": %.4g, ",
      first_row ? "" : ",", row.operation, row.shape.c_str(), precisions[int(row.precision)], m, a.front(),
      a.back() - a.front(), row.bytes / m, row.bytes / m / copy_rate, row.flops / m);
  if (peer) std::printf("\"cublas_median_s\": %.4g, \"cublas_min_s\": %.4g, ", median(b), b.front());
  if (std::isfinite(d)) std::printf("\"difference\": %.4g}", d);
  else std::printf("\"difference\": null}");
  first_row = false;
}

void convolutions(int64_t width, int64_t side, bool depthwise, Stream stream) {
  const cpu::ConvShape s{.batch = 1,
                         .height = side,
                         .width = side,
                         .channels = width,
                         .outputs = width,
                         .window_height = 3,
                         .window_width = 3,
                         .groups = depthwise ? width : 1,
                         .out_height = side,
                         .out_width = side,
                         .stride_height = 1,
                         .stride_width = 1,
                         .padding_height = 1,
                         .padding_width = 1,
                         .dilation = 1};
  const int64_t pixels = side * side, inner = depthwise ? 1 : width, weights = width * 9 * inner;
  Numbers x(pixels * width, 1), w(weights, 2), y(pixels * width, 3), dw(weights, 4);
  const Conv2dForward f{x.device.data(), w.device.data(), nullptr, y.device.data(), s};
  const Conv2dDataGradient g{x.device.data(), w.device.data(), y.device.data(), s};
  // `inputs` twice: as the image and as the gradient. No kernel gains by that: they are read at different places.
  const Conv2dWeightGradient h{x.device.data(), x.device.data(), dw.device.data(), s};
  const cpu::Conv2dForward<float> cf{x.host.data(), w.host.data(), nullptr, y.host.data(), s};
  const cpu::Conv2dDataGradient<float> cg{x.host.data(), w.host.data(), y.host.data(), s};
  const cpu::Conv2dWeightGradient<float> ch{x.host.data(), x.host.data(), dw.host.data(), s};
  DeviceArray<float> room(depthwise ? conv2d_depthwise_weight_gradient_workspace(h)
                                    : conv2d_weight_gradient_workspace(h));
  synchronize(nullptr);
  const std::string shape = std::to_string(side) + "x" + std::to_string(side) + "x" + std::to_string(width) + ", 3x3";
  const double flops = 18.0 * double(pixels * width * inner), bytes = 4.0 * double(2 * pixels * width + weights);
  const double wbytes = 4.0 * double(pixels * width + weights);  // image and gradient are one array here
  float* const r = room.data();
  if (depthwise) {
    const Precision p = Precision::float32;
    measure(
        {"depthwise_forward", shape, p, bytes, flops}, y, [&] { cpu::conv2d_depthwise_forward(cf); },
        [&](Stream t) { conv2d_depthwise_forward(f, t); }, {}, stream);
    measure(
        {"depthwise_data_gradient", shape, p, bytes, flops}, y, [&] { cpu::conv2d_depthwise_data_gradient(cg); },
        [&](Stream t) { conv2d_depthwise_data_gradient(g, t); }, {}, stream);
    measure(
        {"depthwise_weight_gradient", shape, p, wbytes, flops}, dw, [&] { cpu::conv2d_depthwise_weight_gradient(ch); },
        [&](Stream t) { conv2d_depthwise_weight_gradient(h, r, t); }, {}, stream);
    return;
  }
  for (const Precision p : {Precision::float32, Precision::tf32, Precision::bfloat16}) {
    measure(
        {"conv2d_forward", shape, p, bytes, flops}, y, [&] { cpu::conv2d_forward(cf); },
        [&](Stream t) { conv2d_forward(f, p, t); }, {}, stream);
    measure(
        {"conv2d_data_gradient", shape, p, bytes, flops}, y, [&] { cpu::conv2d_data_gradient(cg); },
        [&](Stream t) { conv2d_data_gradient(g, p, t); }, {}, stream);
    measure(
        {"conv2d_weight_gradient", shape, p, wbytes, flops}, dw, [&] { cpu::conv2d_weight_gradient(ch); },
        [&](Stream t) { conv2d_weight_gradient(h, p, r, t); }, {}, stream);
  }
}

void products(int64_t width, int64_t side, Stream stream) {
  const int64_t m = side * side, k = width, n = 2 * width;
  Numbers a(m * k, 5), b(k * n, 6), c(m * n, 7);
  const Gemm g{a.device.data(), b.device.data(), nullptr, c.device.data(), 1, m, n, k, m * k, k, 1, k * n, n, 1};
  const cpu::Gemm<float> cg{a.host.data(), b.host.data(), nullptr, c.host.data(), 1, m, n, k, m * k, k, 1, k * n, n, 1};
  DeviceArray<float> room(gemm_workspace(g));
  synchronize(nullptr);
  const std::string shape = std::to_string(m) + "x" + std::to_string(k) + "x" + std::to_string(n);
#ifdef CLEARSKY_WITH_CUBLAS
  const Cublas cublas;
#endif
  for (const Precision p : {Precision::float32, Precision::tf32, Precision::bfloat16}) {
    Work peer;
#ifdef CLEARSKY_WITH_CUBLAS
    if (p != Precision::bfloat16) peer = [&](Stream t) { cublas.gemm(g, p, t); };
#endif
    measure(
        {"gemm", shape, p, 4.0 * double(m * k + k * n + m * n), 2.0 * double(m * n * k)}, c, [&] { cpu::gemm(cg); },
        [&](Stream t) { gemm(g, p, room.data(), t); }, peer, stream);
  }
}

void rows(int64_t width, int64_t side, Stream stream) {
  const int64_t pixels = side * side;
  Numbers x(2 * pixels * width, 8), y(pixels * width, 9);
  synchronize(nullptr);
  const std::string shape = std::to_string(pixels) + "x" + std::to_string(width);
  const Precision p = Precision::float32;
  const GateForward g{x.device.data(), y.device.data(), pixels, width};
  const cpu::GateForward<float> cg{x.host.data(), y.host.data(), pixels, width};
  const double values = double(pixels * width);
  measure(
      {"gelu_gate_forward", shape, p, 12 * values, 0}, y, [&] { cpu::gelu_gate_forward(cg); },
      [&](Stream t) { gelu_gate_forward(g, t); }, {}, stream);
  measure(
      {"simple_gate_forward", shape, p, 12 * values, 0}, y, [&] { cpu::simple_gate_forward(cg); },
      [&](Stream t) { simple_gate_forward(g, t); }, {}, stream);
  const Softmax s{x.device.data(), y.device.data(), pixels, width, 1, false};
  const cpu::Softmax<float> cs{x.host.data(), y.host.data(), pixels, width, 1, false};
  measure(
      {"softmax", shape, p, 8 * values, 0}, y, [&] { cpu::softmax(cs); }, [&](Stream t) { softmax(s, t); }, {}, stream);
}

void all(const char* commit) {
  const OwnedStream stream;
  cudaDeviceProp device;
  int driver = 0;
  check_cuda(cudaGetDeviceProperties(&device, 0), "gpu_benchmarks");
  check_cuda(cudaDriverGetVersion(&driver), "gpu_benchmarks");
  {
    const size_t size = size_t(256) << 20;
    DeviceArray<char> from(int64_t{256} << 20), to(int64_t{256} << 20);
    fill_device(from.data(), 1, size, stream.get());
    std::vector<double> a, b;
    repeat([&](Stream t) { copy_on_device(to.data(), from.data(), size, t); }, {}, stream.get(), a, b);
    copy_rate = 2 * double(size) / median(a);
  }
  std::printf(
      "{\"device\": \"%s\", \"driver\": %d, \"compiler\": \"nvcc %d.%d\", \"commit\": \"%s\", "
      "\"copy_bytes_per_s\": %.4g, \"rows\": [",
      device.name, driver, __CUDACC_VER_MAJOR__, __CUDACC_VER_MINOR__, commit, copy_rate);
  for (const int64_t width : {32, 64, 128, 256}) {
    const int64_t side = 8192 / width;
    convolutions(width, side, false, stream.get());
    convolutions(width, side, true, stream.get());
    products(width, side, stream.get());
    rows(width, side, stream.get());
  }
  std::printf("\n]}\n");
}

}  // namespace
}  // namespace clearsky::cuda

int main(int argc, char** argv) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::printf("skipped: no CUDA device; run this where there is one\n");
    return 77;
  }
  try {
    clearsky::cuda::all(argc > 1 ? argv[1] : "unknown");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_benchmarks: %s\n", e.what());
    return 1;
  }
}
