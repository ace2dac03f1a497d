#pragma once
// Replays the golden cases of ops.safetensors: the same inputs through our operations, in float and in double, compared
// with what PyTorch gave in float64. README.md says how the file is made and what is in it.

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "../tolerance.hpp"
#include "clearsky/autograd/engine.hpp"
#include "clearsky/io/safetensors.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky::test {

/// tests/golden/data/<name>.safetensors
inline const io::TensorFile& golden_file(const std::string& name) {
  static std::map<std::string, io::TensorFile> files;
  auto found = files.find(name);
  if (found == files.end()) {
    std::string folder = __FILE__;
    folder.resize(folder.rfind("replay.hpp"));
    found = files.emplace(name, io::read_safetensors(folder + "data/" + name + ".safetensors")).first;
  }
  return found->second;
}

/// One case, its inputs as T.
template <class T>
struct GoldenCase {
  std::string name;
  nlohmann::json attrs;
  std::vector<Tensor<T>> in;         ///< floating inputs, in order
  std::vector<size_t> place;         ///< of each in the file's numbering
  std::vector<bool> differentiated;  ///< whether the file has a gradient for it
  std::vector<Tensor<bool>> masks;
  std::vector<Tensor<int64_t>> indices;
  std::map<std::string, Tensor<T>> extra = {};  ///< further results that the call gives, by their name in the file

  int64_t integer(const char* key) const { return attrs.at(key).template get<int64_t>(); }
  double number(const char* key) const { return attrs.at(key).template get<double>(); }
  std::string text(const char* key) const { return attrs.at(key).template get<std::string>(); }
  bool flag(const char* key) const { return integer(key) != 0; }
  Shape dims(const char* key) const {
    Shape dims;
    for (const auto& d : attrs.at(key)) dims.push_back(d.template get<int64_t>());
    return dims;
  }
  Tensor<T> optional(size_t i) const { return i < in.size() ? in[i] : Tensor<T>(); }
};

template <class T>
using GoldenCalls = std::map<std::string, std::function<Tensor<T>(GoldenCase<T>&)>>;

/// Names of all operations that some file of tests replays; compared with the golden file at the end.
inline std::set<std::string>& replayed_ops() {
  static std::set<std::string> ops;
  return ops;
}

/// The rule of tolerance.hpp. The file does not say how many products each element adds, so the elements of the largest
/// input stand for it: no sum has more terms; and the largest magnitude in the tensor, and 1 for sums that cancel,
/// stand for the scale.
template <class T>
void check_close(const Tensor<T>& got, const Tensor<double>& want, double terms, const std::string& what,
                 double condition = 1) {
  REQUIRE_MESSAGE(got.shape() == want.shape(), what, ": shape ", to_text(got.shape()), ", expected ",
                  to_text(want.shape()));
  double scale = 1;
  for (int64_t i = 0; i < want.numel(); ++i) scale = std::fmax(scale, std::fabs(want.data()[i]));
  const double allowed = condition * allowed_error(kRound<T>, kRound<T>, terms, scale);
  const std::vector<T> values = got.to_vector();
  double worst = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    const double difference = std::fabs(double(values[size_t(i)]) - want.data()[i]);
    worst = std::isnan(difference) ? INFINITY : std::fmax(worst, difference);
  }
  CHECK_MESSAGE(worst <= allowed, what, ": off by ", worst, ", allowed ", allowed);
}

template <class T>
GoldenCase<T> load_case(const io::TensorFile& file, const std::string& name, const nlohmann::json& meta) {
  GoldenCase<T> c;
  c.name = name;
  c.attrs = meta.at("attrs");
  for (size_t i = 0; i < meta.at("inputs").get<size_t>(); ++i) {
    const std::string tensor = name + "/input." + std::to_string(i), kind = meta.at("kinds")[i].get<std::string>();
    if (kind == "mask") {
      c.masks.push_back(cast<bool>(file.get<uint8_t>(tensor)));
    } else if (kind == "index") {
      c.indices.push_back(file.get<int64_t>(tensor));
    } else {
      c.in.push_back(cast<T>(file.get<double>(tensor)).clone());
      c.place.push_back(i);
      c.differentiated.push_back(kind == "float" && file.has(name + "/grad_output"));
      if (c.differentiated.back()) c.in.back().set_requires_grad();
    }
  }
  return c;
}

template <class T>
void replay_case(const io::TensorFile& file, const std::string& name, const nlohmann::json& meta,
                 const std::function<Tensor<T>(GoldenCase<T>&)>& call) {
  INFO(name, sizeof(T) == 8 ? " in double" : " in float");
  GoldenCase<T> c = load_case<T>(file, name, meta);
  // Bicubic weights are partly negative: the sum of their magnitudes, squared for two axes, is up to 1.41^2.
  const bool bicubic = meta.at("attrs").value("interpolation", "") == "bicubic";
  // One channel has no variance: 1 / sqrt(var + eps) is 316, and so is the factor on every rounding before it.
  const double condition = bicubic ? 2 : name == "layer_norm.one_channel" ? 316 : 1;
  double terms = 1;
  for (const auto& x : c.in) terms = std::fmax(terms, double(x.numel()));
  const Tensor<T> y = call(c);
  check_close(y, file.get_as<double>(name + "/output"), terms, "output", condition);
  for (const auto& [extra, value] : c.extra) check_close(value, file.get<double>(name + "/" + extra), terms, extra);
  if (!file.has(name + "/grad_output")) return;
  y.backward(cast<T>(file.get<double>(name + "/grad_output")));
  for (size_t i = 0; i < c.in.size(); ++i) {
    if (!c.differentiated[i]) continue;
    const std::string grad = "grad_input." + std::to_string(c.place[i]);
    REQUIRE_MESSAGE(c.in[i].grad().defined(), grad, " is missing");
    check_close(c.in[i].grad(), file.get<double>(name + "/" + grad), std::fmax(terms, double(y.numel())), grad,
                condition);
  }
}

/// Replays every case whose operation is in the table, once in float and once in double.
inline void replay(const GoldenCalls<float>& in_float, const GoldenCalls<double>& in_double) {
  const io::TensorFile& file = golden_file("ops");
  int cases = 0;
  for (const auto& [name, text] : file.metadata) {
    const auto meta = nlohmann::json::parse(text);
    const std::string op = meta.at("op").get<std::string>();
    if (in_float.count(op) == 0) continue;
    replay_case<float>(file, name, meta, in_float.at(op));
    replay_case<double>(file, name, meta, in_double.at(op));
    ++cases;
  }
  CHECK(cases >= int(in_float.size()));  // a table that matches nothing proves nothing
  MESSAGE(cases, " golden cases of ", in_float.size(), " operations");
}

/// Registers the operations of a table before any test runs.
struct Replays {
  explicit Replays(const GoldenCalls<float>& calls) {
    for (const auto& [op, call] : calls) replayed_ops().insert(op);
  }
};

}  // namespace clearsky::test
