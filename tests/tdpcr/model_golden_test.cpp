#include "golden.hpp"

namespace clearsky::tdpcr::test {
namespace {

template <class T>
void check_outputs(const Outputs<T>& out, const io::TensorFile& file, const std::string& name) {
  const auto check = [&](const char* key, const Tensor<T>& got) {
    if (file.has(name + "/" + key)) {
      check_near(key, got, file.get<double>(name + "/" + key), Allowed<T>::output);
    } else {
      CHECK_MESSAGE(!got.defined(), key, " should be absent");
    }
  };
  check("reconstruction", out.reconstruction);
  check("logits", out.logits);
  check("reliance", out.reliance);
  check("uncertainty", out.uncertainty);
}

TEST_CASE_TEMPLATE("every variant of the network gives what PyTorch gives", T, float, double) {
  const io::TensorFile& file = clearsky::test::golden_file("model");
  int cases = 0;
  for (const auto& entry : file.metadata) {
    const std::string& name = entry.first;  // clang 14 lets no lambda, and so no message, see a structured binding
    INFO(name, sizeof(T) == 8 ? " in double" : " in float");
    Model<T> model(config_from(nlohmann::json::parse(entry.second)));
    load_golden<T>(model, file, name, "base");
    const NoGrad inference;
    check_outputs(model(file.get_as<T>(name + "/optical"), file.get_as<T>(name + "/sar")), file, name);
    ++cases;
  }
  CHECK(cases == 12);
}

TEST_CASE_TEMPLATE("every gradient of the network is what PyTorch's is", T, float, double) {
  const io::TensorFile& file = clearsky::test::golden_file("model");
  for (const bool checkpoint_blocks : {false, true}) {
    const char* type = sizeof(T) == 8 ? "double" : "float";
    INFO(type, checkpoint_blocks ? ", blocks computed again in backward" : "");
    Config config = config_from(nlohmann::json::parse(file.metadata.at("base")));
    config.checkpoint_blocks = checkpoint_blocks;
    Model<T> model(config);
    load_golden<T>(model, file, "base", "base");
    const Tensor<T> optical = file.get_as<T>("base/optical").clone().set_requires_grad();
    const Tensor<T> sar = file.get_as<T>("base/sar").clone().set_requires_grad();
    const Outputs<T> out = model(optical, sar);
    check_outputs(out, file, "base");
    const Tensor<T> g_image = file.get_as<T>("base/grad_reconstruction"), g_logits = file.get_as<T>("base/grad_logits");
    (sum(out.reconstruction * g_image) + sum(out.logits * g_logits)).backward();
    check_near("grad_optical", optical.grad(), file.get<double>("base/grad_optical"), Allowed<T>::gradient);
    check_near("grad_sar", sar.grad(), file.get<double>("base/grad_sar"), Allowed<T>::gradient);
    check_weight_gradients<T>(model, file, "base");
  }
}

}  // namespace
}  // namespace clearsky::tdpcr::test
