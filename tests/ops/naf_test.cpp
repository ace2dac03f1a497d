#include "clearsky/ops/naf.hpp"

#include "../op_spec.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/gate.hpp"
#include "clearsky/ops/norm.hpp"
#include "clearsky/ops/pool.hpp"

namespace clearsky::test::naf_test {
namespace {

/// Inputs: x, then gamma, beta, pointwise, depthwise, attention, project1, scale1, gamma2, beta2, expand2, project2 and
/// scale2.
template <class T>
Tensor<T> fused(const std::vector<Tensor<T>>& in) {
  return naf_block<T>(in[0], {{in[1], in[2], in[3], in[4]}, in[5], in[6], in[7], in[8], in[9], in[10], in[11], in[12]});
}
template <class T>
Tensor<T> gates(const std::vector<Tensor<T>>& in) {
  const Tensor<T> u = conv2d(layer_norm(in[0], in[1], in[2]), in[3]);
  return simple_gate(conv2d(u, in[4], {}, {.padding = 1, .groups = u.size(3)}));
}
template <class T>
Tensor<T> first_half(const std::vector<Tensor<T>>& in, const Tensor<T>& t) {
  return in[0] + conv2d(t * conv2d(global_avg_pool(t), in[5]), in[6]) * in[7];
}
template <class T>
Tensor<T> composed(const std::vector<Tensor<T>>& in) {
  const Tensor<T> y = first_half(in, gates(in));
  return y + conv2d(simple_gate(conv2d(layer_norm(y, in[8], in[9]), in[10])), in[11]) * in[12];
}

/// The sizes of what a norm's output is rounded from, when x is off by `off` roundings in each element.
Tensor<double> normed_size(const Tensor<double>& x, const Tensor<double>& off, const Tensor<double>& gamma,
                           const Tensor<double>& beta) {
  const Tensor<double> m = mean(x, {-1}, KeepDim::yes), d = x - m;
  const Tensor<double> rstd = rsqrt(mean(d * d, {-1}, KeepDim::yes) + 1e-5), xhat = abs(d * rstd);
  const Tensor<double> through_mean = mean(off, {-1}, KeepDim::yes);
  const Tensor<double> through_variance = xhat * mean(xhat * off, {-1}, KeepDim::yes);
  return (abs(x) + abs(m) + off + through_mean + through_variance) * rstd * abs(gamma) + abs(beta);
}
/// Those of the product of a pixel's halves.
Tensor<double> gate_size(const Tensor<double>& x, const Tensor<double>& size) {
  const int64_t half = x.size(3) / 2;
  const auto part = [&](const Tensor<double>& t, int64_t i) { return slice(t, 3, i * half, (i + 1) * half); };
  return part(size, 0) * abs(part(x, 1)) + abs(part(x, 0)) * part(size, 1);
}

/// Every product by its absolute value, what is rounded carried along through all that follows.
Expected reference(const Inputs& in, const Attrs&) {
  Expected e;
  if (in[0].numel() == 0) return e;
  const Conv2dOptions depthwise{.padding = 1, .groups = in[3].size(0)};
  const Tensor<double> u = conv2d(layer_norm(in[0], in[1], in[2]), in[3]), z = conv2d(u, in[4], {}, depthwise);
  const Tensor<double> u_size = conv2d(normed_size(in[0], zeros<double>(in[0].shape()), in[1], in[2]), abs(in[3]));
  const Tensor<double> t = simple_gate(z), t_size = gate_size(z, conv2d(u_size, abs(in[4]), {}, depthwise));
  const Tensor<double> q = conv2d(global_avg_pool(t), in[5]), q_size = conv2d(global_avg_pool(t_size), abs(in[5]));
  const Tensor<double> y = first_half(in, t);
  const Tensor<double> y_size = abs(in[0]) + conv2d(t_size * abs(q) + abs(t) * q_size, abs(in[6])) * abs(in[7]);
  const Tensor<double> second = conv2d(layer_norm(y, in[8], in[9]), in[10]);
  const Tensor<double> second_size = conv2d(normed_size(y, y_size, in[8], in[9]), abs(in[10]));
  e.values = composed(in).to_vector();
  e.scale = (y_size + conv2d(gate_size(second, second_size), abs(in[11])) * abs(in[12])).to_vector();
  e.terms = double(8 * in[0].size(3) + 9 + in[0].size(1) * in[0].size(2));
  return e;
}

Sample sample(const Shape& x, bool check = false) {
  const int64_t c = x[3];
  const Shape vector{c}, square{c, 1, 1, c}, twice{2 * c, 1, 1, c};
  return {
      .inputs =
          {x, vector, vector, twice, {2 * c, 3, 3, 1}, square, square, vector, vector, vector, twice, square, vector},
      .gradcheck = check,
      .direction = !check};
}
Sample with(Sample s, size_t input, const Shape& shape) {
  s.inputs[input] = shape;
  return s;
}

TEST_CASE("naf_block") {
  run({.name = "naf_block",
       .reference = reference,
       .samples = {sample({2, 2, 3, 4}, true), sample({1, 3, 5, 3}), sample({1, 1, 4, 6}), sample({0, 2, 2, 4}),
                   sample({2, 0, 2, 4}), sample({1, 5, 1, 17}), sample({2, 37, 6, 8}),  // several bands, of odd height
                   sample({1, 6, 19, 33}), sample({1, 1, 1, 5})},
       .rejects =
           {{with(sample({1, 2, 2, 4}), 3, {12, 1, 1, 4}),
             "naf_block: weights pointwise (12, 1, 1, 4) and depthwise (8, 3, 3, 1) for input (1, 2, 2, 4); they "
             "must be (8, 1, 1, 4) and (8, 3, 3, 1)"},
            {with(sample({1, 2, 2, 4}), 0, {2, 2, 4}), "naf_block: input must be (N, H, W, C), got (2, 2, 4)"},
            {with(sample({1, 2, 2, 4}), 2, {3}), "gamma (4) and beta (3) for input (1, 2, 2, 4)"},
            {with(sample({1, 2, 2, 4}), 5, {4, 1, 1, 8}), "naf_block: weights attention (4, 1, 1, 8), project1"},
            {with(sample({1, 2, 2, 4}), 6, {4, 1, 1, 8}), "project1 (4, 1, 1, 8)"},
            {with(sample({1, 2, 2, 4}), 10, {4, 1, 1, 4}),
             "expand2 (4, 1, 1, 4) for input (1, 2, 2, 4); they must be (4, 1, 1, 4), and expand2 (8, 1, 1, 4)"},
            {with(sample({1, 2, 2, 4}), 11, {8, 1, 1, 4}), "project2 (8, 1, 1, 4)"},
            {with(sample({1, 2, 2, 4}), 7, {1}),
             "naf_block: scale1 (1), scale2 (4), gamma2 (4) and beta2 (4) for input (1, 2, 2, 4); they must be "
             "(4)"},
            {with(sample({1, 2, 2, 4}), 8, {8}), "gamma2 (8)"},
            {with(sample({1, 2, 2, 4}), 9, {8}), "beta2 (8)"},
            {with(sample({1, 2, 2, 4}), 12, {8}), "scale2 (8)"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs&) { return fused(in); });
}

/// The largest difference as a part of the largest element.
void check_same(const Tensor<double>& got, const Tensor<double>& want) {
  REQUIRE(got.shape() == want.shape());
  const std::vector<double> u = got.to_vector(), v = want.to_vector();
  double size = 0, off = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    size = std::max(size, std::fabs(v[i]));
    off = std::max(off, std::fabs(u[i] - v[i]));
  }
  CHECK(off <= 1e-12 * size);
}

TEST_CASE("naf_block against the composed block: strips, bands and tiles, maps kept and computed again") {
  for (const Shape& shape :
       {Shape{1, 23, 400, 32}, Shape{2, 45, 36, 16}, Shape{3, 8, 8, 64}, Shape{1, 21, 130, 72}, Shape{1, 40, 70, 8}}) {
    std::vector<Tensor<double>> in, other;
    for (const auto& t : detail::typed<double>(detail::draw(sample(shape)))) {
      in.push_back(t.clone().set_requires_grad());
      other.push_back(t.clone().set_requires_grad());
    }
    const Tensor<double> y = fused(in), want = composed(other), g = randn<double>(y.shape(), Key{5});
    check_same(y.detach(), want.detach());
    const auto grads = grad(y, in, g), want_grads = grad(want, other, g);
    for (size_t k = 0; k < grads.size(); ++k) {
      INFO("gradient of input ", k);
      check_same(grads[k], want_grads[k]);
    }
  }
}

TEST_CASE("naf_block gives the gradients that are asked for, alone") {
  for (size_t k = 0; k < 13; ++k) {
    auto in = detail::typed<double>(detail::draw(sample({2, 5, 4, 6})));
    auto all = detail::typed<double>(detail::draw(sample({2, 5, 4, 6})));
    for (auto& t : all) t.set_requires_grad();
    in[k].set_requires_grad();
    const Tensor<double> g = randn<double>(in[0].shape(), Key{5});
    CHECK(grad(fused(in), {in[k]}, g)[0].to_vector() == grad(fused(all), all, g)[k].to_vector());
  }
}

TEST_CASE("naf_block keeps a NaN in its image") {
  Inputs in = detail::draw(sample({2, 12, 9, 4}));
  const std::vector<double> whole = fused(in).to_vector();
  const size_t image = 12 * 9 * 4;
  in[0].mutable_data()[image + (5 * 9 + 4) * 4] = NAN;
  const std::vector<double> broken = fused(in).to_vector();
  for (size_t i = 0; i < 2 * image; ++i) {
    if (i < image) CHECK(broken[i] == whole[i]);
    else CHECK(std::isnan(broken[i]));
  }
}

TEST_CASE("naf_block has its kernels on the CPU alone, and says so") {
  CHECK(clearsky::detail::naf_block_forward<float>.exists_on(Device::cpu));
  CHECK(clearsky::detail::naf_block_backward<double>.exists_on(Device::cpu));
  CHECK(!clearsky::detail::naf_block_forward<float>.exists_on(Device::cuda));
  CHECK_THROWS_WITH_AS(clearsky::detail::naf_block_forward<float>(Device::cuda, {}),
                       doctest::Contains("naf_block_forward: the tensor is on"), DeviceError);
}

}  // namespace
}  // namespace clearsky::test::naf_test
