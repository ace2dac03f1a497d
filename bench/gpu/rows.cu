// What works on rows of channels or classes: layer norm, softmax, gates.

#include "clearsky/cpu/gate.hpp"
#include "clearsky/cpu/norm.hpp"
#include "clearsky/cuda/kernels/gate.cuh"
#include "clearsky/cuda/kernels/layer_norm.cuh"
#include "clearsky/cuda/kernels/softmax.cuh"
#include "peers.hpp"

namespace clearsky::cuda::bench {
namespace {

void measure_layer_norm(Harness& h, const Level& l) {
  const int64_t rows = l.pixels(), cols = l.width, count = rows * cols;
  Numbers x = draw(count, 1), gamma = draw(cols, 2), beta = draw(cols, 3), dy = draw(count, 4);
  Numbers y(count), mean(rows), rstd(rows), dx(count), dgamma(cols), dbeta(cols);
  const auto f = [&](Side at) {
    return LayerNormForward{at(x), at(gamma), at(beta), at(y), at(mean), at(rstd), rows, cols, 1e-5f};
  };
  const auto b = [&](Side at) {
    return LayerNormBackward{at(x), at(gamma), at(mean), at(rstd), at(dy), at(dx), at(dgamma), at(dbeta), rows, cols};
  };
  const DeviceArray<float> room(layer_norm_backward_workspace(rows, cols));
  const std::string shape = times({rows, cols});
  h.measure(
      {"layer_norm_forward", shape, 4 * double(2 * count + 2 * cols + 2 * rows), 8 * double(count),
       bound(double(cols))},
      {y, mean, rstd}, [&](Stream t) { layer_norm_forward(f(kDevice), t); },
      [&] { cpu::layer_norm_forward(f(kHost)); });
  h.measure(
      {"layer_norm_backward", shape, 4 * double(3 * count + 3 * cols + 2 * rows), 14 * double(count),
       bound(double(rows))},
      {dx, dgamma, dbeta}, [&](Stream t) { layer_norm_backward(b(kDevice), room.data(), t); },
      [&] { cpu::layer_norm_backward(b(kHost)); });
}

void measure_softmax(Harness& h, int64_t outer, int64_t n, int64_t inner, bool logarithm) {
  const int64_t count = outer * n * inner;
  Numbers x = draw(count, 1, -4, 4), dy = draw(count, 2), y(count), dx(count);
  const auto f = [&](Side at) { return Softmax{at(x), at(y), outer, n, inner, logarithm}; };
  const std::string shape = inner == 1 ? times({outer, n}) : times({outer, n, inner}) + ", dim 1";
  h.measure(
      {logarithm ? "log_softmax" : "softmax", shape, 8 * double(count), 5 * double(count), bound(double(n))}, {y},
      [&](Stream t) { softmax(f(kDevice), t); }, [&] { cpu::softmax(f(kHost)); },
      inner == 1 ? cudnn_peer(f(kDevice)) : Peer{});
  const SoftmaxBackward b{y.device(), dy.device(), dx.device(), outer, n, inner, logarithm};
  h.measure(
      {logarithm ? "log_softmax_backward" : "softmax_backward", shape, 12 * double(count), 4 * double(count),
       bound(double(n))},
      {dx}, [&](Stream t) { softmax_backward(b, t); },
      [&] {  // no CPU kernel: there it is made of other operations
        for (int64_t i = 0; i < outer * inner; ++i) {
          const int64_t first = i / inner * n * inner + i % inner;
          const float *const p = y.host() + first, *const g = dy.host() + first;
          double sum = 0;
          for (int64_t k = 0; k < n * inner; k += inner) sum += logarithm ? double(g[k]) : double(g[k]) * double(p[k]);
          for (int64_t k = 0; k < n * inner; k += inner)
            dx.host()[first + k] =
                float(logarithm ? double(g[k]) - std::exp(double(p[k])) * sum : double(p[k]) * (double(g[k]) - sum));
        }
      },
      inner == 1 ? cudnn_softmax_backward_peer(b.y, b.dy, b.dx, outer, n, logarithm) : Peer{});
}

void measure_gates(Harness& h, const Level& l) {
  const int64_t rows = l.pixels(), half = 2 * l.width, count = rows * half;
  Numbers x = draw(2 * count, 1, -3, 3), dy = draw(count, 2), y(count), dx(2 * count);
  const auto f = [&](Side at) { return GateForward{at(x), at(y), rows, half}; };
  const auto b = [&](Side at) { return GateBackward{at(x), at(dy), at(dx), rows, half}; };
  const std::string shape = times({rows, half});
  const double forward_bytes = 12 * double(count), backward_bytes = 20 * double(count);
  h.measure(
      {"gelu_gate_forward", shape, forward_bytes, 0, bound()}, {y}, [&](Stream t) { gelu_gate_forward(f(kDevice), t); },
      [&] { cpu::gelu_gate_forward(f(kHost)); });
  h.measure(
      {"gelu_gate_backward", shape, backward_bytes, 0, bound()}, {dx},
      [&](Stream t) { gelu_gate_backward(b(kDevice), t); }, [&] { cpu::gelu_gate_backward(b(kHost)); });
  h.measure(
      {"simple_gate_forward", shape, forward_bytes, 0, bound()}, {y},
      [&](Stream t) { simple_gate_forward(f(kDevice), t); }, [&] { cpu::simple_gate_forward(f(kHost)); });
  h.measure(
      {"simple_gate_backward", shape, backward_bytes, 0, bound()}, {dx},
      [&](Stream t) { simple_gate_backward(b(kDevice), t); }, [&] { cpu::simple_gate_backward(b(kHost)); });
}

}  // namespace

void measure_rows(Harness& h) {
  for (const Level& l : h.levels()) {
    measure_layer_norm(h, l);
    measure_gates(h, l);
  }
  const int64_t pixels = h.first_level().pixels();
  for (const bool logarithm : {false, true}) measure_softmax(h, pixels, 10, 1, logarithm);
  measure_softmax(h, h.check() ? 9 : 4096, h.check() ? 33 : 1024, 1, false);
  measure_softmax(h, 4, 10, pixels, false);
}

}  // namespace clearsky::cuda::bench
