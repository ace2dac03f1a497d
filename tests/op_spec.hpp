#pragma once
// The test of an operation is one row: what it should give, on which samples, and what it should refuse. The runner
// checks values in float and double, gradients, second gradients, layouts, thread counts and messages.
//
//     TEST_CASE("softmax") {
//       run({.name = "softmax", .reference = softmax_reference, .samples = {{.inputs = {{3, 4}}, .attrs = {{"dim",
//       1}}}}},
//           [](const auto& in, const Attrs& a) { return softmax(in[0], a.integer("dim")); });
//     }
//
// Fresh memory holds NaN and is watched for writes behind its end (main.cpp), so an output that is not fully written,
// or a write that goes too far, fails the test too.

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "clearsky/autograd/gradcheck.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/ops/reduce.hpp"
#include "tolerance.hpp"

namespace clearsky::test {

/// The options of one call, by name.
class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<const std::string, double>> values) : values_(values) {}
  double at(const std::string& name) const { return values_.at(name); }
  int64_t integer(const std::string& name) const { return int64_t(values_.at(name)); }
  int64_t integer(const std::string& name, int64_t otherwise) const { return has(name) ? integer(name) : otherwise; }
  bool has(const std::string& name) const { return values_.count(name) != 0; }
  bool flag(const std::string& name) const { return has(name) && at(name) != 0; }
  std::string text() const {
    std::string out;
    for (const auto& [name, value] : values_) out += (out.empty() ? "" : ", ") + name + " = " + detail::to_text(value);
    return out;
  }

 private:
  std::map<std::string, double> values_;
};

/// One call: shapes of the differentiable inputs, options, and the range the elements are drawn from.
struct Sample {
  std::vector<Shape> inputs = {};
  Attrs attrs = {};
  double low = -1, high = 1;
  /// Central differences only work where the function is smooth: false for values drawn onto kinks and extremes.
  bool gradcheck = true;
  /// For smooth samples that are too large for gradcheck: one central difference along a direction that moves every
  /// element, so that no block of a gradient can be wrong or missing.
  bool direction = false;
};

/// What is right, in double.
struct Expected {
  std::vector<double> values = {};
  /// Per element: the value with every term replaced by its absolute value, times the condition number of the rest;
  /// empty means |value|.
  std::vector<double> scale = {};
  double terms = 1;  ///< products that one element adds up

  Expected() = default;
  Expected(std::vector<double> v) : values(std::move(v)) {}
  Expected(std::vector<double> v, std::vector<double> s, double t)
      : values(std::move(v)), scale(std::move(s)), terms(t) {}
};

using Inputs = std::vector<Tensor<double>>;

struct Reject {
  Sample sample;
  std::string message;  ///< a part of the text of the exception
};

struct OpSpec {
  std::string name;
  std::function<Expected(const Inputs& in, const Attrs& attrs)> reference;
  std::vector<Sample> samples;
  std::vector<Reject> rejects = {};
  bool twice_differentiable = true;  ///< false: the second derivative must be refused
  /// How much a float gradient may differ from the double one, as a multiple of the rule for as many terms as the
  /// output has elements; above 1 only for a condition number, with the reason in a comment at the row.
  double gradient_condition = 1;
};

/// The call of a row, in both types. Erased: the runner is compiled once for all rows (op_spec.cpp).
struct OpCall {
  template <class T>
  using Function = std::function<Tensor<T>(const std::vector<Tensor<T>>& in, const Attrs& attrs)>;

  Function<float> in_float;
  Function<double> in_double;

  template <class Call>
  requires(!std::is_same_v<Call, OpCall>) OpCall(const Call& call)
      : in_float([call](const std::vector<Tensor<float>>& in, const Attrs& a) { return call(in, a); }),
        in_double([call](const std::vector<Tensor<double>>& in, const Attrs& a) { return call(in, a); }) {}

  Tensor<float> operator()(const std::vector<Tensor<float>>& in, const Attrs& a) const { return in_float(in, a); }
  Tensor<double> operator()(const std::vector<Tensor<double>>& in, const Attrs& a) const { return in_double(in, a); }
};

/// Runs every check on every sample of the row.
/// @param call  a generic lambda (const std::vector<Tensor<T>>& in, const Attrs&) -> Tensor<T>
void run(const OpSpec& spec, const OpCall& call);

namespace detail {

// Parts of run(), for tests with checks of their own; T is float or double.

/// The inputs of a sample.
Inputs draw(const Sample& s);
/// What the call gets of them.
template <class T>
std::vector<Tensor<T>> typed(const Inputs& in);
/// By the rule of tolerance.hpp.
template <class T>
void check_values(const Tensor<T>& got, const Expected& want, const char* what);

}  // namespace detail
}  // namespace clearsky::test
