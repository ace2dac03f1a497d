#include "clearsky/ops/concat.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/conv_transpose2d.hpp"
#include "clearsky/ops/gather.hpp"
#include "clearsky/ops/pad.hpp"
#include "clearsky/ops/pixel_shuffle.hpp"
#include "clearsky/ops/pool.hpp"
#include "clearsky/ops/resize.hpp"
#include "replay.hpp"

namespace clearsky::test::ops_image_replay_test {
namespace {

Padding padding_of(const std::string& name) {
  return name == "reflect" ? Padding::reflect : name == "replicate" ? Padding::replicate : Padding::zeros;
}

template <class T>
GoldenCalls<T> calls() {
  using C = GoldenCase<T>;
  return {
      {"conv2d",
       [](C& c) {
         Conv2dOptions o;
         o.stride = c.integer("stride");
         o.stride_w = c.integer("stride_w");
         o.padding = c.integer("padding");
         o.padding_w = c.integer("padding_w");
         o.dilation = c.integer("dilation");
         o.groups = c.integer("groups");
         o.padding_mode = padding_of(c.text("padding_mode"));
         return conv2d(c.in[0], c.in[1], c.optional(2), o);
       }},
      {"conv_transpose2d",
       [](C& c) {
         ConvTranspose2dOptions o;
         o.stride = c.integer("stride");
         o.padding = c.integer("padding");
         o.output_padding = c.integer("output_padding");
         o.dilation = c.integer("dilation");
         o.groups = c.integer("groups");
         return conv_transpose2d(c.in[0], c.in[1], c.optional(2), o);
       }},
      {"max_pool2d",
       [](C& c) { return max_pool2d(c.in[0], c.integer("window"), c.integer("stride"), c.integer("padding")); }},
      {"avg_pool2d",
       [](C& c) { return avg_pool2d(c.in[0], c.integer("window"), c.integer("stride"), c.integer("padding")); }},
      {"global_avg_pool", [](C& c) { return global_avg_pool(c.in[0]); }},
      {"pixel_shuffle", [](C& c) { return pixel_shuffle(c.in[0], c.integer("factor")); }},
      {"pixel_unshuffle", [](C& c) { return pixel_unshuffle(c.in[0], c.integer("factor")); }},
      {"resize",
       [](C& c) {
         const std::string name = c.text("interpolation");
         const auto how = name == "bilinear"        ? Interpolation::bilinear
                          : name == "bicubic"       ? Interpolation::bicubic
                          : name == "nearest_exact" ? Interpolation::nearest_exact
                                                    : Interpolation::nearest;
         return resize(c.in[0], c.integer("height"), c.integer("width"), how);
       }},
      {"pad",
       [](C& c) {
         return pad(c.in[0], PadSizes{c.integer("top"), c.integer("bottom"), c.integer("left"), c.integer("right")},
                    padding_of(c.text("mode")), c.number("value"));
       }},
      {"concat", [](C& c) { return concat(c.in, c.integer("dim")); }},
      {"stack", [](C& c) { return stack(c.in, c.integer("dim")); }},
      {"split",
       [](C& c) {
         std::vector<int64_t> sizes;
         for (int64_t s : c.dims("sizes")) sizes.push_back(s);
         return split(c.in[0], sizes, c.integer("dim"))[size_t(c.integer("part"))] * T(1);
       }},
      {"slice",
       [](C& c) { return slice(c.in[0], c.integer("dim"), c.integer("begin"), c.integer("end"), c.integer("step")); }},
      {"gather", [](C& c) { return gather(c.in[0], c.integer("dim"), c.indices[0]); }},
      {"index_select", [](C& c) { return index_select(c.in[0], c.integer("dim"), c.indices[0]); }},
      {"one_hot", [](C& c) { return one_hot<T>(c.indices[0], c.integer("classes")); }},
  };
}
const Replays kRegistered(calls<float>());

TEST_CASE("golden values: convolution, pooling, layout, joining, gathering") {
  replay(calls<float>(), calls<double>());
}

}  // namespace
}  // namespace clearsky::test::ops_image_replay_test
