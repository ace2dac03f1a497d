#include "golden.hpp"

namespace clearsky::tdpcr::test {
namespace {

/// Loads a part's weights, runs it on the golden inputs, and compares output and all gradients.
/// call(part, inputs, reliance) -> output
template <class T, class Part, class Call>
void replay(const std::string& name, Part& part, const Call& call) {
  const io::TensorFile& file = clearsky::test::golden_file("blocks");
  INFO(name, sizeof(T) == 8 ? " in double" : " in float");
  load_golden<T>(part, file, name, name);
  std::vector<Tensor<T>> in;
  for (int i = 0; file.has(name + "/input." + std::to_string(i)); ++i)
    in.push_back(file.get_as<T>(name + "/input." + std::to_string(i)).clone().set_requires_grad());
  Tensor<T> reliance;
  const Tensor<T> y = call(part, in, &reliance);
  check_near("output", y, file.get<double>(name + "/output"), Allowed<T>::output);
  if (file.has(name + "/reliance"))
    check_near("reliance", reliance, file.get<double>(name + "/reliance"), Allowed<T>::output);
  y.backward(cast<T>(file.get<double>(name + "/grad_output")));
  for (size_t i = 0; i < in.size(); ++i) {
    const std::string key = "grad_input." + std::to_string(i);
    const Tensor<T> got = in[i].grad().defined() ? in[i].grad() : zeros<T>(in[i].shape());
    check_near(key, got, file.get<double>(name + "/" + key), Allowed<T>::gradient);
  }
  check_weight_gradients<T>(part, file, name);
}

const auto plain = [](const auto& part, const auto& in, auto*) { return part(in[0]); };

TEST_CASE_TEMPLATE("blocks of the golden file", T, float, double) {
  RestormerBlock<T> one_head(6, 1), two_heads(8, 2);
  replay<T>("restormer.one_head", one_head, plain);
  replay<T>("restormer.two_heads", two_heads, plain);
  NafBlock<T> five(5), eight(8);
  replay<T>("naf.5", five, plain);
  replay<T>("naf.8", eight, plain);
}

TEST_CASE_TEMPLATE("NAF blocks of the golden file, operation by operation and as one", T, float, double) {
  for (const int64_t channels : {5, 8}) {
    NafBlock<T> fused(channels), composed(channels);
    const std::string name = "naf." + std::to_string(channels);
    replay<T>(name, fused, [](const auto& part, const auto& in, auto*) { return part.fused(in[0]); });
    replay<T>(name, composed, [](const auto& part, const auto& in, auto*) { return part.composed(in[0]); });
    // Which of both it takes: fused from four pixels per channel on.
    for (const int64_t columns : {2 * channels - 1, 2 * channels}) {
      const Tensor<T> x = randn<T>({1, 2, columns, channels}, Key{2});
      CHECK(fused(x).to_vector() == (columns == 2 * channels ? fused.fused(x) : fused.composed(x)).to_vector());
    }
  }
}

TEST_CASE_TEMPLATE("fusion blocks of the golden file", T, float, double) {
  const auto fuse = [](const FusionBlock<T>& block, const std::vector<Tensor<T>>& in, Tensor<T>* reliance) {
    return block(in[0], in[1], in[2], reliance);
  };
  for (const char* kind : {"replace", "inject", "concat", "add"}) {
    FusionBlock<T> block(enum_from_text<Fusion>(kind), 8, 4);
    replay<T>(std::string("fusion.") + kind, block, fuse);
  }
  FusionBlock<T> block(Fusion::replace, 8, 4);
  replay<T>("fusion.resized_prompt", block, fuse);
}

TEST_CASE_TEMPLATE("prompt generators of the golden file", T, float, double) {
  for (const Prompt kind : {Prompt::mixture, Prompt::bank}) {
    PromptGenerator<T> generator(Config{.prompt = kind, .prompt_channels = 4, .prompt_hidden = 4, .bank_size = 6});
    replay<T>("prompt_generator." + to_text(kind), generator,
              [](const auto& part, const auto& in, auto*) { return part(in[0]).map; });
  }
}

TEST_CASE_TEMPLATE("the segmentation decoder of the golden file", T, float, double) {
  SegmentationDecoder<T> decoder(Config{.width = 4, .segmentation_width = 6, .classes = 5});
  replay<T>("segmentation_decoder.four_levels", decoder, [](const auto& part, const auto& in, auto*) {
    return part(Features<T>{in[0], in[1], in[2], in[3]});
  });
}

}  // namespace
}  // namespace clearsky::tdpcr::test
