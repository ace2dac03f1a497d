#include "../op_spec.hpp"

namespace clearsky::test::reduce_test {
namespace {

/// The dims of a sample: attributes "a", "b", "c"; none means all.
Shape dims_of(const Attrs& a) {
  Shape dims;
  for (const char* name : {"a", "b", "c"})
    if (a.has(name)) dims.push_back(a.integer(name));
  return dims;
}
KeepDim keep_of(const Attrs& a) {
  return a.flag("keep") ? KeepDim::yes : KeepDim::no;
}

/// Calls fold(values) for the elements that fall together, in row-major order of the results.
template <class Fold>
Expected reduced(const Tensor<double>& x, const Attrs& attrs, const Fold& fold) {
  bool at[kMaxRank] = {};
  const Shape dims = dims_of(attrs);
  for (int64_t d : dims) at[d < 0 ? d + x.rank() : d] = true;
  if (dims.empty()) std::fill_n(at, kMaxRank, true);
  std::map<std::vector<int64_t>, std::vector<double>> groups;
  Shape kept = x.shape();
  for (size_t d = 0; d < kept.size(); ++d)
    if (at[d]) kept[d] = 1;
  // Groups that get no element exist too.
  for (int64_t i = 0; i < kept.numel(); ++i) {
    std::vector<int64_t> key(kept.size());
    int64_t rest = i;
    for (size_t d = kept.size(); d-- > 0; rest /= kept[d]) key[d] = rest % kept[d];
    groups[key];
  }
  for (int64_t i = 0; i < x.numel(); ++i) {
    std::vector<int64_t> key(x.shape().size());
    int64_t rest = i;
    for (size_t d = key.size(); d-- > 0; rest /= x.shape()[d]) key[d] = at[d] ? 0 : rest % x.shape()[d];
    groups[key].push_back(x.data()[i]);
  }
  Expected e;
  for (const auto& [key, values] : groups) {
    double scale = 0;
    e.values.push_back(fold(values, scale));
    e.scale.push_back(scale);
    e.terms = std::fmax(e.terms, double(values.size()));
  }
  return e;
}

double total(const std::vector<double>& v, double& scale) {
  double t = 0;
  for (double x : v) {
    t += x;
    scale += std::fabs(x);
  }
  return t;
}

const std::vector<Sample> kShapes = {
    {.inputs = {{3, 4, 5}}},
    {.inputs = {{3, 4, 5}}, .attrs = {{"a", 0}}},
    {.inputs = {{3, 4, 5}}, .attrs = {{"a", 1}}},
    {.inputs = {{3, 4, 5}}, .attrs = {{"a", -1}, {"keep", 1}}},
    {.inputs = {{3, 4, 5}}, .attrs = {{"a", 0}, {"b", 2}}},
    {.inputs = {{2, 3, 2, 17}}, .attrs = {{"a", 1}, {"b", 2}, {"keep", 1}}},
    {.inputs = {{2, 3, 2, 3}}, .attrs = {{"a", 0}, {"b", 1}, {"c", 2}}},
    {.inputs = {{7, 1}}, .attrs = {{"a", 1}}},
    {.inputs = {{1}}, .attrs = {{"a", 0}}},
    {.inputs = {{200, 300}}, .gradcheck = false},                       // several blocks of one long row
    {.inputs = {{3000, 33}}, .attrs = {{"a", 0}}, .gradcheck = false},  // several chunks of columns
    {.inputs = {{100001}}, .gradcheck = false},
};
const std::vector<Reject> kRejects = {
    {{.inputs = {{2, 3}}, .attrs = {{"a", 2}}}, "dim 2 is out of range for shape (2, 3); use -2 to 1"},
    {{.inputs = {{2, 3}}, .attrs = {{"a", 0}, {"b", -2}}}, "dims (0, -2) name dim 0 twice"},
};
std::vector<Sample> with_empty() {
  std::vector<Sample> s = kShapes;
  s.push_back({.inputs = {{0, 3}}, .attrs = {{"a", 0}}});
  s.push_back({.inputs = {{3, 0}}, .attrs = {{"a", 0}}});
  return s;
}

TEST_CASE("sum") {
  run({.name = "sum",
       .reference = [](const Inputs& in, const Attrs& a) { return reduced(in[0], a, total); },
       .samples = with_empty(),
       .rejects = kRejects},
      [](const auto& in, const Attrs& a) { return sum(in[0], dims_of(a), keep_of(a)); });
}

TEST_CASE("mean") {
  run({.name = "mean",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             return reduced(in[0], a, [](const std::vector<double>& v, double& scale) {
               const double t = total(v, scale);
               scale /= double(v.size());
               return t / double(v.size());
             });
           },
       .samples = kShapes,
       .rejects = kRejects},
      [](const auto& in, const Attrs& a) { return mean(in[0], dims_of(a), keep_of(a)); });
  CHECK(std::isnan(mean(zeros({0})).item()));
}

template <int Correction>
double variance(const std::vector<double>& v, double& scale) {
  double unused = 0, squares = 0;
  const double m = total(v, unused) / double(v.size());
  for (double x : v) squares += (x - m) * (x - m);
  // Twice: once for the sum, once for the rounding of the mean it is taken around.
  scale = 2 * squares / double(v.size() - Correction) + 0.1 * std::fabs(m);
  return squares / double(v.size() - Correction);
}

TEST_CASE("var") {
  std::vector<Sample> samples(kShapes.begin(), kShapes.begin() + 7);
  samples.push_back({.inputs = {{3000, 33}}, .attrs = {{"a", 0}}, .gradcheck = false});
  for (int correction : {0, 1})
    run({.name = "var",
         .reference =
             [correction](const Inputs& in, const Attrs& a) {
               return correction ? reduced(in[0], a, variance<1>) : reduced(in[0], a, variance<0>);
             },
         .samples = samples,
         .rejects = kRejects},
        [correction](const auto& in, const Attrs& a) { return var(in[0], dims_of(a), keep_of(a), correction); });
}

TEST_CASE("max, min") {
  const std::vector<Reject> rejects = {{{.inputs = {{0, 2}}, .attrs = {{"a", 0}}}, "is empty and has no"}, kRejects[0]};
  run({.name = "max",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             return reduced(
                 in[0], a, [](const std::vector<double>& v, double&) { return *std::max_element(v.begin(), v.end()); });
           },
       .samples = kShapes,
       .rejects = rejects},
      [](const auto& in, const Attrs& a) { return max(in[0], dims_of(a), keep_of(a)); });
  run({.name = "min",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             return reduced(
                 in[0], a, [](const std::vector<double>& v, double&) { return *std::min_element(v.begin(), v.end()); });
           },
       .samples = kShapes,
       .rejects = rejects},
      [](const auto& in, const Attrs& a) { return min(in[0], dims_of(a), keep_of(a)); });
  CHECK(std::isnan(max(Tensor<>({3}, {1, NAN, 3})).item()));
}

TEST_CASE("argmax takes the first of equals and passes a NaN on") {
  const Tensor<> x({2, 4}, {1, 5, 5, 2, 7, NAN, 9, 3});
  CHECK(argmax(x, 1).to_vector() == std::vector<int64_t>{1, 1});
  CHECK(argmax(x, 0, KeepDim::yes).shape() == Shape{1, 4});
  CHECK(argmin(x, -1).to_vector() == std::vector<int64_t>{0, 1});
  CHECK_THROWS_WITH_AS(argmax(x, 2), doctest::Contains("argmax: dim 2 is out of range"), ShapeError);
}

TEST_CASE("logsumexp") {
  run({.name = "logsumexp",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             return reduced(in[0], a, [](const std::vector<double>& v, double& scale) {
               const double top = *std::max_element(v.begin(), v.end());
               double t = 0;
               for (double x : v) t += std::exp(x - top);
               scale = std::fabs(top) + std::fabs(std::log(t)) + 1;  // + 1: log turns the sum's relative error absolute
               return top + std::log(t);
             });
           },
       .samples = {{.inputs = {{3, 4}}, .attrs = {{"a", 1}}},
                   {.inputs = {{3, 4, 2}}, .attrs = {{"a", 0}, {"b", 2}, {"keep", 1}}},
                   {.inputs = {{5}}, .low = 800, .high = 810, .gradcheck = false}},  // exp(800) overflows a double
       .rejects = kRejects},
      [](const auto& in, const Attrs& a) { return logsumexp(in[0], dims_of(a), keep_of(a)); });
  CHECK(logsumexp(full({2}, -INFINITY), {0}).item() == -INFINITY);
}

TEST_CASE("norm") {
  for (double p : {1.0, 2.0, 3.0})
    run({.name = "norm",
         .reference =
             [p](const Inputs& in, const Attrs& a) {
               return reduced(in[0], a, [p](const std::vector<double>& v, double& scale) {
                 double t = 0;
                 for (double x : v) t += std::pow(std::fabs(x), p);
                 return scale = std::pow(t, 1 / p);
               });
             },
         .samples = {{.inputs = {{3, 4}}, .attrs = {{"a", 1}}, .low = 0.2},
                     {.inputs = {{3, 4, 2}}, .attrs = {{"a", 0}, {"b", 2}, {"keep", 1}}, .low = 0.2},
                     {.inputs = {{7}}, .low = 0.2}},
         .rejects = kRejects},
        [p](const auto& in, const Attrs& a) { return norm(in[0], p, dims_of(a), keep_of(a)); });
  Tensor<> zero = zeros({3});
  zero.set_requires_grad();
  norm(zero).backward();
  CHECK(zero.grad().to_vector() == std::vector<float>{0, 0, 0});
  CHECK_THROWS_WITH_AS(norm(zero, -1), doctest::Contains("norm: p is -1"), ValueError);
}

}  // namespace
}  // namespace clearsky::test::reduce_test
