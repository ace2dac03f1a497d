// Matrix products: a layer's, the gradient of its weights, several at a time, with an epilogue.

#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cuda/kernels/gemm.cuh"
#include "peers.hpp"

namespace clearsky::cuda::bench {
namespace {

struct ProductSize {
  int64_t batch, m, k, n;
  bool turned = false;  // a is stored as (k, m)
};

void measure_product(Harness& h, const ProductSize& s) {
  const auto [batch, m, k, n, turned] = s;
  Numbers a = draw(batch * m * k, 1), b = draw(batch * k * n, 2), c(batch * m * n);
  const auto g = [&, m = m, k = k, n = n, batch = batch, turned = turned](Side at) {
    return Gemm{at(a), at(b), nullptr, at(c), batch, m, n, k, m * k, turned ? 1 : k, turned ? m : 1, k * n, n, 1};
  };
  const DeviceArray<float> room(gemm_workspace(g(kDevice)));
  const std::string shape =
      (batch == 1 ? "" : std::to_string(batch) + " of ") + times({m, k, n}) + (turned ? ", a^T" : "");
  for (const Precision p : h.precisions())
    h.measure(
        {"gemm", shape, 4 * double(a.size() + b.size() + c.size()), 2 * double(c.size()) * double(k),
         bound(p, double(k)), p},
        {c}, [&](Stream t) { gemm(g(kDevice), p, room.data(), t); }, shared_reference(p, [&] { cpu::gemm(g(kHost)); }),
        cublas_peer(g(kDevice), p));
}

/// c = relu(a b + bias)
void measure_biased(Harness& h, int64_t m, int64_t k, int64_t n) {
  Numbers a = draw(m * k, 1), b = draw(k * n, 2), bias = draw(n, 3), c(m * n);
  const auto g = [&](Side at) { return Gemm{at(a), at(b), at(bias), at(c), 1, m, n, k, m * k, k, 1, k * n, n, 1}; };
  const DeviceArray<float> room(gemm_workspace(g(kDevice)));
  h.measure(
      {"gemm, bias, relu", times({m, k, n}), 4 * double(a.size() + b.size() + n + c.size()),
       2 * double(c.size()) * double(k), bound(double(k))},
      {c},
      [&](Stream t) {
        gemm(g(kDevice), Epilogue{bias.device(), Activation::relu}, Precision::float32, room.data(), t);
      },
      [&] {
        cpu::gemm(g(kHost));
        for (int64_t i = 0; i < c.size(); ++i) c.host()[i] = (std::max)(c.host()[i], 0.0f);
      });
}

}  // namespace

void measure_products(Harness& h) {
  for (const Level& l : h.levels()) {
    measure_product(h, {1, l.pixels(), l.width, 2 * l.width});
    measure_product(h, {1, l.width, l.pixels(), 2 * l.width, true});
  }
  measure_product(h, h.check() ? ProductSize{3, 17, 9, 5} : ProductSize{8, 1024, 64, 1024});
  if (!h.check()) measure_product(h, {1, 2048, 2048, 2048});
  const Level l = h.first_level();
  measure_biased(h, l.pixels(), l.width, 2 * l.width);
}

}  // namespace clearsky::cuda::bench
