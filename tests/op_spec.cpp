#include "op_spec.hpp"

#include <algorithm>
#include <cstring>

namespace clearsky::test {
namespace detail {

Inputs draw(const Sample& s) {
  Inputs in;
  for (size_t k = 0; k < s.inputs.size(); ++k)
    // Rounded to float, so that float and double see the same numbers.
    in.push_back(cast<double>(cast<float>(rand<double>(s.inputs[k], Key{0x73616d70, k}, s.low, s.high))));
  return in;
}

template <class T>
std::vector<Tensor<T>> typed(const Inputs& in) {
  std::vector<Tensor<T>> out;
  for (const auto& x : in) out.push_back(cast<T>(x).clone());
  return out;
}

template <class T>
void check_values(const Tensor<T>& got, const Expected& want, const char* what) {
  const std::vector<T> values = got.to_vector();
  REQUIRE_MESSAGE(values.size() == want.values.size(), what, ": ", values.size(), " elements, expected ",
                  want.values.size());
  int64_t wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double exact = want.values[i], value = double(values[i]);
    const double scale = want.scale.empty() ? std::fabs(exact) : want.scale[i];
    // A result below the normal range of the type is rounded to its smallest steps, whatever the rule says.
    const double smallest = double((std::numeric_limits<T>::min)());
    const double allowed = allowed_error(kRound<T>, kRound<T>, want.terms, scale) + smallest;
    const bool same = std::isnan(exact)   ? std::isnan(value)
                      : std::isinf(exact) ? value == exact
                                          : std::fabs(value - exact) <= allowed;
    if (!same && ++wrong == 1)
      CHECK_MESSAGE(same, what, ": element ", i, " is ", value, ", expected ", exact, ", allowed difference ", allowed);
  }
  CHECK(wrong == 0);
}

template std::vector<Tensor<float>> typed(const Inputs&);
template std::vector<Tensor<double>> typed(const Inputs&);
template void check_values(const Tensor<float>&, const Expected&, const char*);
template void check_values(const Tensor<double>&, const Expected&, const char*);

namespace {

/// The same elements, not contiguous: dimensions stored in reverse order.
template <class T>
Tensor<T> reversed_storage(const Tensor<T>& x) {
  if (x.rank() < 2) {  // every other element of a longer vector
    if (x.rank() == 0) return x;
    Tensor<T> wide = full<T>({x.size(0) * 2 + 1}, std::numeric_limits<T>::quiet_NaN());
    for (int64_t i = 0; i < x.numel(); ++i) wide.mutable_data()[1 + 2 * i] = x.data()[i];
    return wide.view_as(x.shape(), Shape{2}, 1);
  }
  Shape order = x.shape();
  for (size_t d = 0; d < order.size(); ++d) order[d] = x.rank() - 1 - int64_t(d);
  const Tensor<T> turned = permute(x, order).clone();
  return permute(turned, order);
}

/// The same elements, dense, but 3 elements into a larger storage and so not aligned.
template <class T>
Tensor<T> shifted_storage(const Tensor<T>& x) {
  Tensor<T> wide = full<T>({x.numel() + 7}, std::numeric_limits<T>::quiet_NaN());
  std::copy_n(x.data(), x.numel(), wide.mutable_data() + 3);
  return wide.view_as(x.shape(), clearsky::detail::dense_strides(x.shape()), 3);
}

template <class T>
bool same_bits(const std::vector<Tensor<T>>& a, const std::vector<Tensor<T>>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined() != b[i].defined() || a[i].shape() != b[i].shape()) return false;
    const std::vector<T> u = a[i].to_vector(), v = b[i].to_vector();
    if (!u.empty() && std::memcmp(u.data(), v.data(), u.size() * sizeof(T)) != 0) return false;
  }
  return true;
}

/// The output and the gradient of each input, for one fixed seed.
template <class T>
std::vector<Tensor<T>> run_once(const OpCall& call, std::vector<Tensor<T>> in, const Attrs& attrs) {
  for (auto& x : in) x.set_requires_grad();
  const Tensor<T> y = call(in, attrs);
  std::vector<Tensor<T>> results{y.detach().clone()};
  if (y.requires_grad()) {
    const Tensor<T> seed = cast<T>(cast<float>(rand<double>(y.shape(), Key{0x73656564}, 0.25, 1)));
    for (auto& g : grad(y, in, seed)) results.push_back(g);
  }
  return results;
}

/// Float gradients against the double ones, which gradcheck has proven.
void check_gradients(const std::vector<Tensor<float>>& got, const std::vector<Tensor<double>>& want, double condition) {
  REQUIRE(got.size() == want.size());
  for (size_t k = 1; k < got.size(); ++k) {
    REQUIRE(got[k].defined() == want[k].defined());
    if (!got[k].defined()) continue;
    const std::vector<float> g = got[k].to_vector();
    const std::vector<double> w = want[k].to_vector();
    REQUIRE(g.size() == w.size());
    double largest = 0;
    for (double v : w) largest = std::fmax(largest, std::fabs(v));
    // Every element of the output may contribute one term; largest stands for the scale of the sum.
    const double allowed =
        condition * allowed_error(kRoundFloat, kRoundFloat, double((std::max)(want[0].numel(), int64_t(16))), largest);
    for (size_t i = 0; i < g.size(); ++i) {
      const bool near =
          std::isnan(w[i]) ? std::isnan(g[i]) : std::fabs(double(g[i]) - w[i]) <= allowed || double(g[i]) == w[i];
      if (!near)
        FAIL_CHECK("float gradient of input ", k - 1, ", element ", i, " is ", g[i], ", double gives ", w[i],
                   ", allowed difference ", allowed);
    }
  }
}

/// The derivative along one direction, from the double gradients and from a central difference.
void check_direction(const OpCall& call, const Inputs& in, const Attrs& attrs, double condition) {
  const double step = GradcheckOptions{}.step;
  auto leaves = typed<double>(in);
  for (auto& x : leaves) x.set_requires_grad();
  const Tensor<double> y = call(leaves, attrs);
  const Tensor<double> w = rand<double>(y.shape(), Key{0x77656967}, 0.5, 1.5);
  const auto grads = grad(y, leaves, w);
  double got = 0, squares = 0, side[2] = {}, size = 0;
  Inputs moved[2] = {typed<double>(in), typed<double>(in)};
  for (size_t k = 0; k < in.size(); ++k) {
    const Tensor<double> d = randn<double>(in[k].shape(), Key{0x64697265, k});
    const std::vector<double> g = grads[k].to_vector();
    for (int64_t i = 0; i < d.numel(); ++i) {
      const double v = d.data()[i] * (g.empty() ? 0 : g[size_t(i)]);
      got += v;
      squares += v * v;
      for (int s = 0; s < 2; ++s) moved[s][k].mutable_data()[i] += (s ? step : -step) * d.data()[i];
    }
  }
  for (int s = 0; s < 2; ++s) {
    const std::vector<double> values = call(moved[s], attrs).to_vector();
    for (size_t i = 0; i < values.size(); ++i) {
      side[s] += values[i] * w.data()[i];
      size += std::fabs(values[i] * w.data()[i]);
    }
  }
  const double want = (side[1] - side[0]) / (2 * step);
  // The terms have random signs, so their squares stand for the size of the sum; the difference carries the rounding of
  // both sides.
  const double allowed = 1e-6 * std::sqrt(squares) + 4e-16 * condition * size / step;
  CHECK_MESSAGE(std::fabs(got - want) <= allowed, "along a direction backward gives ", got, ", central difference ",
                want, ", allowed difference ", allowed);
}

void check_sample(const OpSpec& spec, const OpCall& call, const Sample& sample) {
  const Inputs in = draw(sample);
  const Expected want = spec.reference(in, sample.attrs);
  const auto in_double = typed<double>(in);
  const auto in_float = typed<float>(in);

  const auto results = run_once<double>(call, in_double, sample.attrs);
  const auto results_float = run_once<float>(call, in_float, sample.attrs);
  check_values(results[0], want, "double");
  check_values(results_float[0], want, "float");
  check_gradients(results_float, results, spec.gradient_condition);
  // Float and double take the same path: memory that neither writes is NaN (main.cpp) in both.
  if (std::none_of(want.values.begin(), want.values.end(), [](double v) { return std::isnan(v); }))
    for (size_t k = 1; k < results.size(); ++k) {
      const std::vector<double> g = results[k].to_vector();
      CHECK_MESSAGE(std::none_of(g.begin(), g.end(), [](double v) { return std::isnan(v); }), "NaN in the gradient of ",
                    "input ", k - 1);
    }

  // Same bits again, and for other numbers of threads.
  const int64_t before = threads();
  for (int64_t count : {1, 2, 3}) {
    set_threads(count);
    CHECK_MESSAGE(same_bits(run_once<float>(call, typed<float>(in), sample.attrs), results_float),
                  "float: other bits with ", count, " threads");
  }
  set_threads(before);

  // Layouts: same numbers, other storage. Kernels may add in another order, so the rule holds and not the bits.
  std::vector<Tensor<float>> reversed, shifted;
  for (const auto& x : in_float) {
    reversed.push_back(reversed_storage(x));
    shifted.push_back(shifted_storage(x));
  }
  for (const auto* layout : {&reversed, &shifted}) {
    const auto again = run_once<float>(call, *layout, sample.attrs);
    check_values(again[0], want, layout == &reversed ? "float, not contiguous" : "float, not aligned");
    check_gradients(again, results, spec.gradient_condition);
  }

  if (sample.direction) check_direction(call, in, sample.attrs, spec.gradient_condition);
  if (sample.gradcheck && results.size() > 1) {
    const auto f = [&](const Inputs& at) { return call(at, sample.attrs); };
    CHECK_NOTHROW(gradcheck(f, in_double, {.name = spec.name.c_str()}));
    if (results[0].numel() == 0) return;
    if (spec.twice_differentiable) {
      CHECK_NOTHROW(gradgradcheck(f, in_double, {.tolerance = 1e-6, .name = spec.name.c_str()}));
    } else {
      auto leaves = typed<double>(in);
      for (auto& x : leaves) x.set_requires_grad();
      const auto y = call(leaves, sample.attrs);
      CHECK_THROWS_WITH_AS(grad(y, leaves, ones<double>(y.shape()), CreateGraph::yes),
                           doctest::Contains("second derivative"), AutogradError);
    }
  }
}

}  // namespace
}  // namespace detail

void run(const OpSpec& spec, const OpCall& call) {
  for (const Sample& sample : spec.samples) {
    std::string shapes;
    for (const Shape& s : sample.inputs) shapes += to_text(s) + " ";
    INFO(spec.name, " of ", shapes, sample.attrs.text());
    detail::check_sample(spec, call, sample);
  }
  for (const Reject& reject : spec.rejects) {
    INFO(spec.name, " must refuse with: ", reject.message);
    const auto in = detail::typed<float>(detail::draw(reject.sample));
    CHECK_THROWS_WITH_AS(call(in, reject.sample.attrs), doctest::Contains(reject.message.c_str()), Error);
  }
}

}  // namespace clearsky::test
