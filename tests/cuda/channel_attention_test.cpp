#include "clearsky/cuda/kernels/channel_attention.cuh"

#include "kernels.hpp"

namespace clearsky::test::channel_attention_test {
namespace {

struct Size {
  int64_t batch, pixels, channels, heads;
};
// One of everything; odd heads below and above a tile; several slots of pixels; in fours and not; nothing.
const Size kSizes[] = {{1, 1, 1, 1},    {2, 19, 6, 2}, {1, 35, 66, 1}, {3, 70, 24, 3},
                       {1, 1100, 8, 2}, {2, 9, 10, 1}, {0, 4, 8, 2},   {2, 0, 8, 2}};

/// Everything in double, from its definitions.
struct Exact {
  std::vector<double> y, dqkv, dt, y_scale, dqkv_scale, dt_scale;

  Exact(const Size& s, const Values<float>& qkv, const Values<float>& temperature, const Values<float>& dy) {
    const int64_t d = s.channels / s.heads, row = 3 * s.channels;
    y.assign(size_t(s.batch * s.pixels * s.channels), 0), y_scale = y;
    dqkv.assign(size_t(s.batch * s.pixels * row), 0), dqkv_scale = dqkv;
    dt.assign(size_t(s.heads), 0), dt_scale = dt;
    if (s.pixels == 0) return;  // no direction at all: gradients are 0
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t h = 0; h < s.heads; ++h) {
        const auto at = [&](int64_t p, int64_t part, int64_t c) {
          return size_t((n * s.pixels + p) * row + part * s.channels + h * d + c);
        };
        const auto out = [&](int64_t p, int64_t c) { return size_t((n * s.pixels + p) * s.channels + h * d + c); };
        std::vector<double> norm(size_t(2 * d), 0.), normal(size_t(d * d), 0.), a(normal), scores(normal);
        for (int64_t p = 0; p < s.pixels; ++p)
          for (int64_t c = 0; c < 2 * d; ++c) norm[size_t(c)] += std::pow(double(qkv[at(p, c / d, c % d)]), 2);
        for (double& v : norm) v = std::sqrt(v);
        const double t = temperature[size_t(h)];
        for (int64_t i = 0; i < d; ++i) {
          double sum = 0;
          for (int64_t j = 0; j < d; ++j) {
            double product = 0, score = 0;
            for (int64_t p = 0; p < s.pixels; ++p) {
              product += double(qkv[at(p, 0, i)]) * qkv[at(p, 1, j)];
              score += double(dy[out(p, i)]) * qkv[at(p, 2, j)];
            }
            normal[size_t(i * d + j)] = product / (norm[size_t(i)] * norm[size_t(d + j)]);
            scores[size_t(i * d + j)] = score;
            sum += a[size_t(i * d + j)] = std::exp(t * normal[size_t(i * d + j)]);
          }
          for (int64_t j = 0; j < d; ++j) a[size_t(i * d + j)] /= sum;
        }
        std::vector<double> dl(size_t(d * d), 0.), size(dl);  // and what its terms add up to
        for (int64_t i = 0; i < d; ++i) {
          double dot = 0, dot_size = 0;
          for (int64_t j = 0; j < d; ++j) {
            dot += a[size_t(i * d + j)] * scores[size_t(i * d + j)];
            double terms = 0;
            for (int64_t p = 0; p < s.pixels; ++p) terms += std::abs(double(dy[out(p, i)]) * qkv[at(p, 2, j)]);
            size[size_t(i * d + j)] = terms;
            dot_size += a[size_t(i * d + j)] * terms;
          }
          for (int64_t j = 0; j < d; ++j) {
            auto& m = dl[size_t(i * d + j)];
            m = a[size_t(i * d + j)] * (scores[size_t(i * d + j)] - dot);
            size[size_t(i * d + j)] = a[size_t(i * d + j)] * (size[size_t(i * d + j)] + dot_size);
            dt[size_t(h)] += m * normal[size_t(i * d + j)];
            dt_scale[size_t(h)] += size[size_t(i * d + j)];
          }
        }
        for (int64_t p = 0; p < s.pixels; ++p)
          for (int64_t i = 0; i < d; ++i)
            for (int64_t j = 0; j < d; ++j) {
              const auto ij = size_t(i * d + j);
              const double both = t / (norm[size_t(i)] * norm[size_t(d + j)]), m = both * dl[ij],
                           m_size = both * size[ij];
              const double q = qkv[at(p, 0, i)], k = qkv[at(p, 1, j)], v = qkv[at(p, 2, j)], g = dy[out(p, i)];
              const double along_q = t * dl[ij] * normal[ij] / std::pow(norm[size_t(i)], 2),
                           along_k = t * dl[ij] * normal[ij] / std::pow(norm[size_t(d + j)], 2);
              const double size_q = t * size[ij] / std::pow(norm[size_t(i)], 2),
                           size_k = t * size[ij] / std::pow(norm[size_t(d + j)], 2);
              y[out(p, i)] += a[ij] * v, y_scale[out(p, i)] += a[ij] * std::abs(v) * (1 + 2 * t);
              dqkv[at(p, 0, i)] += m * k - along_q * q;
              dqkv_scale[at(p, 0, i)] += m_size * std::abs(k) + size_q * std::abs(q);
              dqkv[at(p, 1, j)] += m * q - along_k * k;
              dqkv_scale[at(p, 1, j)] += m_size * std::abs(q) + size_k * std::abs(k);
              dqkv[at(p, 2, j)] += a[ij] * g, dqkv_scale[at(p, 2, j)] += a[ij] * std::abs(g) * (1 + 2 * t);
            }
      }
  }
};

TEST_CASE("channel attention: values and gradients as in double and on the CPU, in every precision") {
  for (const Size& s : kSizes)
    for (int64_t shift : {0, 1}) {
      if (shift == 1 && s.pixels > 35) continue;
      CAPTURE(s.pixels);
      CAPTURE(s.channels);
      CAPTURE(s.heads);
      CAPTURE(shift);
      const int64_t d = s.channels / s.heads, count = s.batch * s.pixels * s.channels;
      const int64_t state_size = s.batch * s.heads * (2 * d * d + 2 * d);
      const Values<float> qkv = draw(3 * count, 1), temperature = draw(s.heads, 2, 0.5, 2), dy = draw(count, 3);
      const auto forward = [&](const float* x, const float* t, float* y, float* state) {
        return cuda::ChannelAttentionForward{x, t, y, state, s.batch, s.pixels, s.channels, s.heads};
      };
      const auto run_forward = [&](Precision precision) {
        return in_every_order([&] {
          std::vector<Output> out{Output(count), Output(state_size)};
          const auto p = forward(qkv.device(shift), temperature.device(), out[0].data(), out[1].data());
          Output workspace(cuda::channel_attention_forward_workspace(p));
          cuda::channel_attention_forward(p, precision, workspace.data(), nullptr);
          CHECK(workspace.sentinels_intact());
          return out;
        });
      };
      std::vector<float> cpu_y(static_cast<size_t>(count)), cpu_state(static_cast<size_t>(state_size));
      cpu::channel_attention_forward(forward(qkv.data(), temperature.data(), cpu_y.data(), cpu_state.data()));
      const Values<float> state(cpu_state);
      const auto backward = [&](const float* x, const float* t, const float* st, const float* g, float* dx, float* dt) {
        return cuda::ChannelAttentionBackward{x, t, st, g, dx, dt, s.batch, s.pixels, s.channels, s.heads};
      };
      const auto run_backward = [&](Precision precision, bool with_temperature) {
        return in_every_order([&] {
          std::vector<Output> out{Output(3 * count), Output(s.heads)};
          const auto p = backward(qkv.device(shift), temperature.device(), state.device(), dy.device(shift),
                                  out[0].data(), with_temperature ? out[1].data() : nullptr);
          Output workspace(cuda::channel_attention_backward_workspace(p));
          cuda::channel_attention_backward(p, precision, workspace.data(), nullptr);
          CHECK(workspace.sentinels_intact());
          return out;
        });
      };
      std::vector<float> cpu_dqkv(static_cast<size_t>(3 * count)), cpu_dt(static_cast<size_t>(s.heads));
      cpu::channel_attention_backward(
          backward(qkv.data(), temperature.data(), state.data(), dy.data(), cpu_dqkv.data(), cpu_dt.data()));

      const Exact exact(s, qkv, temperature, dy);
      for (Precision precision : {Precision::float32, Precision::tf32, Precision::bfloat16}) {
        if (precision != Precision::float32 && (shift == 1 || s.pixels > 70)) continue;
        CAPTURE(int(precision));
        const auto y = run_forward(precision), g = run_backward(precision, true);
        // Factors that are rounded to fewer bits carry that rounding into every product, and so into the softmax.
        const double u = precision == Precision::float32 ? 0 : precision == Precision::tf32 ? 0x1p-11 : 0x1p-8;
        Worst forward_error, backward_error, cpu;
        const auto check = [&](Worst& worst, float got, double want, double on_cpu, double scale, int64_t terms) {
          const double allowed = 4 * allowed_error(kRoundFloat, kRoundFloat, double(terms), scale) + 4 * u * scale;
          worst.add(got, want, allowed);
          if (precision == Precision::float32) cpu.add(got, on_cpu, 2 * allowed);
        };
        for (size_t i = 0; i < size_t(count); ++i)
          check(forward_error, y[0][int64_t(i)], exact.y[i], cpu_y[i], exact.y_scale[i], d + s.pixels);
        for (size_t i = 0; i < size_t(3 * count); ++i)
          check(backward_error, g[0][int64_t(i)], exact.dqkv[i], cpu_dqkv[i], exact.dqkv_scale[i], d + s.pixels);
        for (size_t h = 0; h < size_t(s.heads); ++h)
          check(backward_error, g[1][int64_t(h)], exact.dt[h], cpu_dt[h], exact.dt_scale[h], d * d + s.pixels);
        CHECK(forward_error.share() <= 1);
        CHECK(backward_error.share() <= 1);
        CHECK(cpu.share() <= 1);
        if (precision == Precision::float32) CHECK(run_backward(precision, false)[0].same_bits(g[0]));
      }
    }
}

TEST_CASE("channel attention: a channel of zeros has no direction, and what cannot be launched is refused") {
  std::vector<float> x = draw(7 * 12, 1).vector();
  for (size_t p = 0; p < 7; ++p) x[p * 12 + 1] = x[p * 12 + 4] = 0;  // one of q, one of k
  const Values<float> qkv(x), temperature(std::vector<float>{1, 1}), dy = draw(7 * 4, 3);
  Output y(28), state(2 * 12), dqkv(84), dt(2);
  const cuda::ChannelAttentionForward p{qkv.device(), temperature.device(), y.data(), state.data(), 1, 7, 4, 2};
  Output workspace(cuda::channel_attention_forward_workspace(p));
  cuda::channel_attention_forward(p, Precision::float32, workspace.data(), nullptr);
  const cuda::ChannelAttentionBackward b{
      qkv.device(), temperature.device(), state.data(), dy.device(), dqkv.data(), dt.data(), 1, 7, 4, 2};
  Output backward_workspace(cuda::channel_attention_backward_workspace(b));
  cuda::channel_attention_backward(b, Precision::float32, backward_workspace.data(), nullptr);
  std::vector<float> cpu_y(28), cpu_state(24), cpu_dqkv(84), cpu_dt(2);
  cpu::channel_attention_forward<float>({qkv.data(), temperature.data(), cpu_y.data(), cpu_state.data(), 1, 7, 4, 2});
  cpu::channel_attention_backward<float>(
      {qkv.data(), temperature.data(), cpu_state.data(), dy.data(), cpu_dqkv.data(), cpu_dt.data(), 1, 7, 4, 2});
  for (int64_t i = 0; i < 28; ++i) CHECK(y[i] == doctest::Approx(cpu_y[size_t(i)]).epsilon(1e-5));
  for (int64_t i = 0; i < 84; ++i) {
    const float want = cpu_dqkv[size_t(i)];
    CHECK(std::abs(dqkv[i] - want) <= 1e-4 * std::max(1.0f, std::abs(want)));
  }
  CHECK_THROWS_WITH_AS(cuda::channel_attention_forward({nullptr, nullptr, nullptr, nullptr, 1, 1, 2048, 1},
                                                       Precision::float32, nullptr, nullptr),
                       doctest::Contains("a device takes 65535 images and heads of 1024"), ShapeError);
}

}  // namespace
}  // namespace clearsky::test::channel_attention_test
