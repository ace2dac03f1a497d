#pragma once
// The golden files blocks and model (tests/golden/README.md): weights into our modules, results compared with
// PyTorch's.

#include "../golden/replay.hpp"
#include "clearsky/tdpcr/model.hpp"

namespace clearsky::tdpcr::test {

/// How far outputs and gradients may be off, as a share of the largest magnitude in the tensor. In double it is the
/// depth of the network that adds up, some hundred roundings in a row; in float the same with half the digits, and more
/// for gradients, which have come through the network twice.
template <class T>
struct Allowed {
  static constexpr double output = sizeof(T) == 8 ? 1e-9 : 1e-4;
  static constexpr double gradient = sizeof(T) == 8 ? 1e-9 : 1e-3;
};

template <class T>
void check_near(const std::string& what, const Tensor<T>& got, const Tensor<double>& want, double share) {
  REQUIRE_MESSAGE(got.defined(), what, " is missing");
  REQUIRE_MESSAGE(got.shape() == want.shape(), what, " is ", to_text(got.shape()), ", expected ",
                  to_text(want.shape()));
  const std::vector<T> values = got.to_vector();
  double largest = 0, worst = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    const double difference = std::fabs(double(values[size_t(i)]) - want.data()[i]);
    largest = std::fmax(largest, std::fabs(want.data()[i]));
    worst = std::isnan(difference) ? INFINITY : std::fmax(worst, difference);
  }
  // Where the exact result is 0 everywhere (a gradient without effect), roundings are measured against 1.
  const double scale = largest > 1e-12 ? largest : 1;
  CHECK_MESSAGE(worst <= share * scale, what, ": off by ", worst, " where the largest is ", largest);
}

/// Loads `<name>/weight.*` into a module, and what is not there from `<fallback>/weight.*`.
template <class T, class Module>
void load_golden(Module& module, const io::TensorFile& file, const std::string& name, const std::string& fallback) {
  nn::StateDict dict;
  nn::each_parameter(module, [&](const std::string& key, nn::Parameter<T>&) {
    const std::string own = name + "/weight." + key;
    dict.emplace(key, file.get_as<T>(file.has(own) ? own : fallback + "/weight." + key));
  });
  nn::load_state(module, dict, {.source = file.path});
}

/// Every gradient of a module against `<name>/grad_weight.*`; one that is missing must be zero there.
template <class T, class Module>
void check_weight_gradients(Module& module, const io::TensorFile& file, const std::string& name) {
  nn::each_parameter(module, [&](const std::string& key, nn::Parameter<T>& p) {
    const Tensor<double> want = file.get<double>(name + "/grad_weight." + key);
    const Tensor<T> got = p.value.grad().defined() ? p.value.grad() : zeros<T>(p.value.shape());
    check_near("grad_weight." + key, got, want, Allowed<T>::gradient);
  });
}

inline Config config_from(const nlohmann::json& j) {
  Config c;
  const auto number = [&](const char* key, int64_t& to) { to = j.at(key).get<int64_t>(); };
  const auto levels = [&](const char* key, PerLevel& to) { to = j.at(key).get<PerLevel>(); };
  number("width", c.width);
  levels("optical_blocks", c.optical_blocks);
  levels("sar_blocks", c.sar_blocks);
  levels("decoder_blocks", c.decoder_blocks);
  levels("heads", c.heads);
  c.block = enum_from_text<Block>(j.at("block").get<std::string>());
  c.prompt = enum_from_text<Prompt>(j.at("prompt").get<std::string>());
  c.fusion = enum_from_text<Fusion>(j.at("fusion").get<std::string>());
  c.skips = enum_from_text<Skips>(j.at("skips").get<std::string>());
  c.residual = enum_from_text<Residual>(j.at("residual").get<std::string>());
  number("prompt_components", c.prompt_components);
  number("prompt_channels", c.prompt_channels);
  number("prompt_hidden", c.prompt_hidden);
  number("bank_size", c.bank_size);
  number("optical_bands", c.optical_bands);
  number("sar_bands", c.sar_bands);
  c.segmentation = j.at("segmentation").get<bool>();
  number("segmentation_width", c.segmentation_width);
  number("classes", c.classes);
  return c;
}

}  // namespace clearsky::tdpcr::test
