#include "clearsky/ops/pool.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::pool_test {
namespace {

Sample sample(Shape x, int64_t window, int64_t stride, int64_t padding, bool check = true) {
  return {.inputs = {x},
          .attrs = {{"window", double(window)}, {"stride", double(stride)}, {"padding", double(padding)}},
          .gradcheck = check};
}

/// Visits the pixels of each window that lie in the image.
template <class Begin, class Visit, class End>
void each_window(const Tensor<double>& x, const Attrs& a, Begin begin, Visit visit, End end) {
  const int64_t window = a.integer("window"), padding = a.integer("padding");
  const int64_t stride = a.integer("stride") == 0 ? window : a.integer("stride");
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t top = -padding; top + window <= x.size(1) + padding; top += stride)
      for (int64_t left = -padding; left + window <= x.size(2) + padding; left += stride)
        for (int64_t c = 0; c < x.size(3); ++c) {
          begin();
          for (int64_t h = top; h < top + window; ++h)
            for (int64_t w = left; w < left + window; ++w)
              if (0 <= h && h < x.size(1) && 0 <= w && w < x.size(2)) visit(x.at({n, h, w, c}));
          end();
        }
}

Expected max_reference(const Inputs& in, const Attrs& a) {
  std::vector<double> y;
  double best = 0;
  each_window(
      in[0], a, [&] { best = -INFINITY; }, [&](double v) { best = std::fmax(best, v); }, [&] { y.push_back(best); });
  return y;
}

Expected avg_reference(const Inputs& in, const Attrs& a) {
  Expected want;
  const double area = a.at("window") * a.at("window");
  double sum = 0, scale = 0;
  each_window(
      in[0], a, [&] { sum = scale = 0; },
      [&](double v) {
        sum += v;
        scale += std::fabs(v);
      },
      [&] {
        want.values.push_back(sum / area);
        want.scale.push_back(scale / area);
      });
  want.terms = area;
  return want;
}

const std::vector<Sample> kSamples{
    sample({2, 4, 6, 3}, 2, 0, 0),           // windows side by side
    sample({1, 5, 6, 2}, 3, 2, 1),           // overlapping, with padding; the last row is in no window
    sample({1, 4, 5, 1}, 3, 1, 1),           // every pixel in several windows
    sample({1, 7, 7, 2}, 2, 3, 0),           // pixels between windows get no gradient
    sample({1, 3, 3, 19}, 3, 3, 0),          // the whole image; a vector of channels and a rest
    sample({1, 1, 1, 2}, 1, 1, 0),           //
    sample({0, 4, 4, 2}, 2, 2, 0),           //
    sample({2, 40, 37, 33}, 3, 2, 1, false)  // several blocks
};
const std::vector<Reject> kRejects{
    {sample({4, 4, 2}, 2, 0, 0), "input must be (N, H, W, C), got (4, 4, 2)"},
    {sample({1, 4, 1, 2}, 2, 0, 0), "a window of 2 does not fit width 1 with padding 0; input (1, 4, 1, 2)"},
    {sample({1, 4, 4, 2}, 3, 1, 2), "padding 2 for a window of 3; use 0 to half of it, 1"},
    {sample({1, 4, 4, 2}, 0, 1, 0), "window 0 and stride 1; use at least 1"},
};

TEST_CASE("max_pool2d") {
  run({.name = "max_pool2d", .reference = max_reference, .samples = kSamples, .rejects = kRejects},
      [](const auto& in, const Attrs& a) {
        return max_pool2d(in[0], a.integer("window"), a.integer("stride"), a.integer("padding"));
      });
}

TEST_CASE("max_pool2d: the first of equal values wins, all below padding's zeros, NaN over all") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), low = -std::numeric_limits<float>::infinity();
  Tensor<float> x({1, 2, 2, 1}, {-3, -1, -1, -2});
  x.set_requires_grad();
  const Tensor<float> y = max_pool2d(x, 2);
  y.backward();
  CHECK(y.item() == -1);
  CHECK(x.grad().to_vector() == std::vector<float>{0, 1, 0, 0});
  CHECK(max_pool2d(x, 2, 2, 1).to_vector() == std::vector<float>{-3, -1, -1, -2});
  CHECK(std::isnan(max_pool2d(Tensor<float>({1, 2, 2, 1}, {1, nan, 2, 3}), 2).item()));
  Tensor<float> lowest({1, 2, 2, 1}, {low, low, low, low});
  lowest.set_requires_grad();
  max_pool2d(lowest, 2).backward();
  CHECK(lowest.grad().to_vector() == std::vector<float>{1, 0, 0, 0});
}

TEST_CASE("avg_pool2d") {
  run({.name = "avg_pool2d", .reference = avg_reference, .samples = kSamples, .rejects = kRejects},
      [](const auto& in, const Attrs& a) {
        return avg_pool2d(in[0], a.integer("window"), a.integer("stride"), a.integer("padding"));
      });
}

TEST_CASE("global_avg_pool") {
  const auto reference = [](const Inputs& in, const Attrs&) -> Expected {
    const Tensor<double>& x = in[0];
    const double count = double(x.size(1) * x.size(2));
    Expected want;
    for (int64_t n = 0; n < x.size(0); ++n)
      for (int64_t c = 0; c < x.size(3); ++c) {
        double sum = 0, scale = 0;
        for (int64_t h = 0; h < x.size(1); ++h)
          for (int64_t w = 0; w < x.size(2); ++w) {
            sum += x.at({n, h, w, c});
            scale += std::fabs(x.at({n, h, w, c}));
          }
        want.values.push_back(sum / count);
        want.scale.push_back(scale / count);
      }
    want.terms = count;
    return want;
  };
  run({.name = "global_avg_pool",
       .reference = reference,
       .samples = {{.inputs = {{2, 3, 4, 5}}},
                   {.inputs = {{1, 1, 1, 2}}},
                   {.inputs = {{0, 3, 3, 2}}},
                   {.inputs = {{2, 60, 70, 33}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{3, 4}}}, "input must be (N, H, W, C), got (3, 4)"}}},
      [](const auto& in, const Attrs&) { return global_avg_pool(in[0]); });
}

}  // namespace
}  // namespace clearsky::test::pool_test
