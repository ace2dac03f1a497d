#include "clearsky/ops/softmax.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::softmax_test {
namespace {

/// body(i, members): for each element i, the elements of its slice along the sample's dim.
template <class Body>
void each_slice(const Tensor<double>& x, const Attrs& a, const Body& body) {
  const Shape s = x.shape();
  const int64_t dim = (a.integer("dim") + s.rank()) % s.rank();
  int64_t inner = 1;
  for (int64_t d = dim + 1; d < s.rank(); ++d) inner *= s[size_t(d)];
  std::vector<double> members(static_cast<size_t>(s[size_t(dim)]));
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t first = i - i / inner % s[size_t(dim)] * inner;
    for (size_t k = 0; k < members.size(); ++k) members[k] = x.data()[first + int64_t(k) * inner];
    body(x.data()[i], members);
  }
}

/// sum_j e^(x_j - m), m the largest, and in `moved` how far the roundings of x_j - m move the sum.
double shifted_sum(const std::vector<double>& members, double top, double& moved) {
  double sum = 0;
  moved = 0;
  for (double m : members) {
    sum += std::exp(m - top);
    moved += std::exp(m - top) * (top - m);
  }
  return sum;
}

/// Scale: x_i - m is rounded, and the exponential turns that into a relative error.
Expected softmax_reference(const Inputs& in, const Attrs& a) {
  Expected e;
  each_slice(in[0], a, [&](double x, const std::vector<double>& members) {
    const double top = *std::max_element(members.begin(), members.end());
    double moved;
    const double sum = shifted_sum(members, top, moved), y = std::exp(x - top) / sum;
    e.values.push_back(y);
    e.scale.push_back(y * (1 + (top - x) + moved / sum));
    e.terms = double(members.size());
  });
  return e;
}

Expected log_softmax_reference(const Inputs& in, const Attrs& a) {
  Expected e;
  each_slice(in[0], a, [&](double x, const std::vector<double>& members) {
    const double top = *std::max_element(members.begin(), members.end());
    double moved;
    const double sum = shifted_sum(members, top, moved);
    e.values.push_back(x - top - std::log(sum));
    e.scale.push_back((top - x) + std::log(sum) + 1 + moved / sum);  // + 1: log makes relative errors absolute
    e.terms = double(members.size());
  });
  return e;
}

const std::vector<Sample> kSamples = {
    {.inputs = {{5}}, .attrs = {{"dim", 0}}},
    {.inputs = {{3, 4}}, .attrs = {{"dim", 1}}},
    {.inputs = {{3, 4}}, .attrs = {{"dim", 0}}},      // the strided direction
    {.inputs = {{2, 3, 4}}, .attrs = {{"dim", -2}}},  // a middle dimension, from the back
    {.inputs = {{3, 19}}, .attrs = {{"dim", -1}}},
    {.inputs = {{2, 3, 17}}, .attrs = {{"dim", 1}}},
    {.inputs = {{1, 16}}, .attrs = {{"dim", 1}}},
    {.inputs = {{2, 1}}, .attrs = {{"dim", 1}}},  // one element: y is 1, gradient is 0
    {.inputs = {{3, 1, 2}}, .attrs = {{"dim", 1}}},
    {.inputs = {{0, 3}}, .attrs = {{"dim", 1}}},
    {.inputs = {{3, 0}}, .attrs = {{"dim", 1}}},
    {.inputs = {{2, 0, 3}}, .attrs = {{"dim", 1}}},
    {.inputs = {{500, 33}}, .attrs = {{"dim", 1}}, .gradcheck = false, .direction = true},  // several blocks of rows
    {.inputs = {{5, 31, 333}},
     .attrs = {{"dim", 1}},
     .gradcheck = false,
     .direction = true},                                                                    // several blocks of columns
    {.inputs = {{2, 5001}}, .attrs = {{"dim", 1}}, .gradcheck = false, .direction = true},  // a row longer than a block
    {.inputs = {{7}},
     .attrs = {{"dim", 0}},
     .low = 720,
     .high = 722,
     .gradcheck = false,
     .direction = true},  // e^720 overflows a double
    {.inputs = {{7, 3}}, .attrs = {{"dim", 0}}, .low = 720, .high = 722, .gradcheck = false, .direction = true},
    {.inputs = {{6, 5}},
     .attrs = {{"dim", 1}},
     .low = -802,
     .high = -800,
     .gradcheck = false,
     .direction = true},  // all underflow
    {.inputs = {{4, 6}},
     .attrs = {{"dim", 1}},
     .low = -1e4,
     .high = 1e4,
     .gradcheck = false,
     .direction = true},  // most become 0
    {.inputs = {{6, 4}}, .attrs = {{"dim", 0}}, .low = -1e4, .high = 1e4, .gradcheck = false, .direction = true},
};

TEST_CASE("softmax") {
  run({.name = "softmax",
       .reference = softmax_reference,
       .samples = kSamples,
       .rejects = {{{.inputs = {{2, 3}}, .attrs = {{"dim", 2}}},
                    "softmax: dim 2 is out of range for shape (2, 3); use -2 to 1"},
                   {{.inputs = {{2, 3}}, .attrs = {{"dim", -3}}}, "softmax: dim -3 is out of range for shape (2, 3)"},
                   {{.inputs = {{}}, .attrs = {{"dim", 0}}}, "softmax: needs at least 1 dimension, got a scalar"}}},
      [](const auto& in, const Attrs& a) { return softmax(in[0], a.integer("dim")); });
}

TEST_CASE("log_softmax") {
  run({.name = "log_softmax",
       .reference = log_softmax_reference,
       .samples = kSamples,
       .rejects = {{{.inputs = {{2, 3}}, .attrs = {{"dim", 2}}},
                    "log_softmax: dim 2 is out of range for shape (2, 3); use -2 to 1"},
                   {{.inputs = {{}}, .attrs = {{"dim", 0}}}, "log_softmax: needs at least 1 dimension, got a scalar"}}},
      [](const auto& in, const Attrs& a) { return log_softmax(in[0], a.integer("dim")); });
}

TEST_CASE("softmax and log_softmax of infinities and NaN, along both directions") {
  const float inf = INFINITY;
  const Tensor<> rows({3, 2}, {1, -inf, NAN, 0, 2, 2});
  for (const bool turned : {false, true}) {
    const Tensor<> x = turned ? contiguous(transpose(rows, 0, 1)) : rows;
    const auto values = [&](const Tensor<>& y) { return contiguous(turned ? transpose(y, 0, 1) : y).to_vector(); };
    const std::vector<float> y = values(softmax(x, turned ? 0 : 1)), log_y = values(log_softmax(x, turned ? 0 : 1));
    CHECK(y[0] == 1);
    CHECK(y[1] == 0);
    CHECK(log_y[0] == 0);
    CHECK(log_y[1] == -inf);
    for (size_t i : {2, 3}) {
      CHECK(std::isnan(y[i]));
      CHECK(std::isnan(log_y[i]));
    }
    CHECK(y[4] == 0.5f);
    CHECK(log_y[5] == doctest::Approx(-0.6931472));
  }
}

}  // namespace
}  // namespace clearsky::test::softmax_test
