#include "clearsky/cuda/kernels/fusion.cuh"

#include "kernels.hpp"

namespace clearsky::test::fusion_test {
namespace {

struct Size {
  int64_t batch, pixels, channels;
};
const Size kSizes[] = {{1, 1, 1},   {2, 7, 5}, {3, 131, 33}, {1, 70, 64}, {2, 66, 132},
                       {3, 13, 32}, {2, 5, 4}, {0, 3, 4},    {2, 0, 4},   {2, 3, 0}};

TEST_CASE("mix: values, reliance and gradients as in double and on the CPU") {
  for (const Size& s : kSizes)
    for (int64_t variant = 0; variant < 4; ++variant) {
      const bool replace = variant % 2 == 1;
      const OnDevice device{variant / 2};  // aligned, and not
      CAPTURE(device.shift);
      CAPTURE(s.batch);
      CAPTURE(s.pixels);
      CAPTURE(s.channels);
      CAPTURE(replace);
      const int64_t rows = s.batch * s.pixels, count = rows * s.channels, images = s.batch * s.channels;
      const Values<float> optical = draw(count, 1), sar = draw(count, 2), context = draw(images, 3, -3, 3),
                          bias = draw(count, 4, -3, 3), dy = draw(count, 5);
      const auto forward = [&](float* y, float* reliance, auto at) {
        return cuda::MixForward{at(optical), at(sar), at(context), at(bias),   y,
                                reliance,    s.batch, s.pixels,    s.channels, replace};
      };
      const auto backward = [&](float* doptical, float* dsar, float* dcontext, float* dbias, auto at) {
        return cuda::MixBackward{at(optical), at(sar), at(context), at(bias), at(dy),     doptical, dsar,
                                 dcontext,    dbias,   s.batch,     s.pixels, s.channels, replace};
      };
      const auto y = in_every_order([&] {
        std::vector<Output> out{Output(count), Output(rows)};
        cuda::mix_forward(forward(out[0].data(), out[1].data(), device), nullptr);
        return out;
      });
      const auto d = in_every_order([&] {
        std::vector<Output> out{Output(count), Output(count), Output(images), Output(count)};
        Output workspace(cuda::mix_backward_workspace(s.batch, s.pixels, s.channels));
        cuda::mix_backward(backward(out[0].data(), out[1].data(), out[2].data(), out[3].data(), device),
                           workspace.data(), nullptr);
        CHECK(workspace.sentinels_intact());
        return out;
      });
      const auto floats = [](int64_t n) { return std::vector<float>(size_t(n), 0.f); };
      std::vector<float> cy = floats(count), cr = floats(rows), co = floats(count), cs = floats(count),
                         cc = floats(images), cb = floats(count);
      cpu::mix_forward(forward(cy.data(), cr.data(), OnHost()));
      cpu::mix_backward(backward(co.data(), cs.data(), cc.data(), cb.data(), OnHost()));

      Worst worst, cpu;
      const auto check = [&](float got, float on_cpu, double want, double scale, int64_t terms) {
        // Twice: the gate is rounded in several steps of its own before it is used.
        const double allowed = 2 * allowed_error(kRoundFloat, kRoundFloat, double(terms), scale);
        worst.add(got, want, allowed);
        cpu.add(got, on_cpu, 2 * allowed);
      };
      std::vector<double> dcontext(size_t(images), 0.), dcontext_scale(size_t(images), 0.);
      for (int64_t r = 0; r < rows && s.channels != 0; ++r) {
        double reliance = 0;
        for (int64_t c = 0; c < s.channels; ++c) {
          const int64_t at = r * s.channels + c, image = r / s.pixels * s.channels + c;
          const double o = optical[size_t(at)], v = sar[size_t(at)], g = dy[size_t(at)];
          const double gate = 1 / (1 + std::exp(-double(context[size_t(image)]) - bias[size_t(at)]));
          const double condition = 1 + std::abs(double(context[size_t(image)]) + bias[size_t(at)]) * (1 - gate);
          const double to = replace ? v - o : v, to_scale = replace ? std::abs(v) + std::abs(o) : std::abs(v);
          const double h = g * to * gate * (1 - gate), h_scale = std::abs(g) * to_scale * gate * condition;
          reliance += gate;
          dcontext[size_t(image)] += h, dcontext_scale[size_t(image)] += h_scale;
          check(y[0][at], cy[size_t(at)], o + gate * to, std::abs(o) + gate * to_scale * condition, 1);
          check(d[0][at], co[size_t(at)], replace ? g * (1 - gate) : g, std::abs(g) * condition, 1);
          check(d[1][at], cs[size_t(at)], g * gate, std::abs(g) * gate * condition, 1);
          check(d[3][at], cb[size_t(at)], h, h_scale, 1);
        }
        reliance /= double(s.channels);
        check(y[1][r], cr[size_t(r)], reliance, reliance, s.channels);
      }
      for (int64_t i = 0; i < images; ++i)
        check(d[2][i], cc[size_t(i)], dcontext[size_t(i)], dcontext_scale[size_t(i)], s.pixels);
      CHECK(worst.share() <= 1);
      CHECK(cpu.share() <= 1);

      Output y_alone(count), dsar_alone(count);
      cuda::mix_forward(forward(y_alone.data(), nullptr, device), nullptr);
      cuda::mix_backward(backward(nullptr, dsar_alone.data(), nullptr, nullptr, device), nullptr, nullptr);
      CHECK(y_alone.same_bits(y[0]));
      CHECK(dsar_alone.same_bits(d[1]));
    }
}

}  // namespace
}  // namespace clearsky::test::fusion_test
