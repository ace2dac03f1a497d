// Losses: cross-entropy, Dice, errors, CARL, SSIM.

#include "clearsky/cpu/cross_entropy.hpp"
#include "clearsky/cpu/dice.hpp"
#include "clearsky/cpu/loss.hpp"
#include "clearsky/cpu/ssim.hpp"
#include "clearsky/cuda/kernels/carl.cuh"
#include "clearsky/cuda/kernels/cross_entropy.cuh"
#include "clearsky/cuda/kernels/dice.cuh"
#include "clearsky/cuda/kernels/error_loss.cuh"
#include "clearsky/cuda/kernels/ssim.cuh"
#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

constexpr int64_t kIgnored = 255;

template <class Label>
void measure_class_losses(Harness& h, int64_t rows, int64_t classes, const char* label_type) {
  const int64_t count = rows * classes;
  Numbers x = draw(count, 1, -3, 3), weight = draw(classes, 2, 0.5, 2), g = draw(1, 3, 0.5, 1);
  Both<Label> label = draw_integers_below<Label>(classes, rows, 4);
  Numbers loss(1), scale(1), d(count), p(count), slopes(2 * classes), dx(count);
  Both<int64_t> invalid(1);
  const std::string shape = times({rows, classes}) + ", " + label_type;
  const double labels = double(rows) * sizeof(Label);
  const auto c = [&](Side at) {
    return CrossEntropy<Label>{at(x),       at(label), at(weight), at(loss), at(scale), at(d),
                               at(invalid), rows,      classes,    kIgnored, 0.1,       0};
  };
  const DeviceArray<float> cross_entropy_room(cross_entropy_workspace(rows)),
      dice_room(dice_forward_workspace(rows, classes));
  h.measure(
      {"cross_entropy", shape, 8 * double(count) + labels + 4 * double(classes), 12 * double(count),
       bound(double(classes))},
      {loss, scale, d, invalid},
      [&](Stream t) { cross_entropy(c(kDevice), cross_entropy_room.data(), invalid.device(), t); },
      [&] {
        const CrossEntropy<Label> host = c(kHost);
        cpu::cross_entropy(host);
        double weights = 0;  // the CPU has their sum in d, the device in the scale
        for (int64_t i = 0; i < rows; ++i)
          if (int64_t(host.label[i]) != kIgnored) weights += double(host.class_weight[host.label[i]]);
        for (int64_t i = 0; i < count; ++i) host.d[i] = float(double(host.d[i]) * weights);
        *host.scale = float(1 / weights);
      });
  const auto f = [&](Side at) {
    return DiceForward<Label>{at(x), at(label), at(loss), at(p), at(slopes), at(invalid), rows, classes, kIgnored, 1};
  };
  const auto b = [&](Side at) {
    return DiceBackward<Label>{at(g), at(p), at(slopes), at(label), at(dx), rows, classes, kIgnored};
  };
  h.measure(
      {"dice_forward", shape, 8 * double(count) + labels, 8 * double(count), bound(double(rows))},
      {loss, p, slopes, invalid}, [&](Stream t) { dice_forward(f(kDevice), dice_room.data(), invalid.device(), t); },
      [&] { cpu::dice_forward(f(kHost)); });
  h.measure(
      {"dice_backward", shape, 8 * double(count) + labels, 6 * double(count), bound(double(rows))}, {dx},
      [&](Stream t) { dice_backward(b(kDevice), t); }, [&] { cpu::dice_backward(b(kHost)); });
}

/// Two images, and what losses of them write.
struct Images {
  int64_t pixels, bands, count;
  Numbers a, b, input, weight, g, loss, scale, da, db, dinput;
  Images(int64_t pixel_count, int64_t band_count)
      : pixels(pixel_count),
        bands(band_count),
        count(pixels * bands),
        a(draw(count, 1, 0, 1)),
        b(draw(count, 2, 0, 1)),
        input(draw(count, 3, 0, 1)),
        weight(draw(pixels, 4, 0, 1)),
        g(draw(1, 5, 0.5, 1)),
        loss(1),
        scale(1),
        da(count),
        db(count),
        dinput(count) {}
};

template <class E>
void measure_error(Harness& h, Images& m, const E& e, const char* forward_name, const char* backward_name,
                   bool weighted) {
  const auto f = [&](Side at) {
    return ErrorLossForward<E>{e,          at(m.a),     at(m.b),  weighted ? at(m.weight) : nullptr,
                               at(m.loss), at(m.scale), m.pixels, m.bands};
  };
  const auto b = [&](Side at) {
    return ErrorLossBackward<E>{e,        at(m.a),     at(m.b),  weighted ? at(m.weight) : nullptr,
                                at(m.g),  at(m.scale), at(m.da), nullptr,
                                m.pixels, m.bands};
  };
  const DeviceArray<float> room(error_loss_workspace(m.pixels, m.bands));
  const std::string shape = times({m.pixels, m.bands}) + (weighted ? ", weighted" : "");
  const double weights = weighted ? 4 * double(m.pixels) : 0;
  h.measure(
      {forward_name, shape, 8 * double(m.count) + weights, 3 * double(m.count), bound()}, {m.loss, m.scale},
      [&](Stream t) { error_loss_forward(f(kDevice), room.data(), t); }, [&] { cpu::error_loss_forward(f(kHost)); });
  h.measure(
      {backward_name, shape, 12 * double(m.count) + weights, 4 * double(m.count), bound()}, {m.da},
      [&](Stream t) { error_loss_backward(b(kDevice), t); }, [&] { cpu::error_loss_backward(b(kHost)); });
}

void measure_carl(Harness& h, Images& m) {
  const auto f = [&](Side at) {
    return CarlForward{at(m.a), at(m.b), at(m.input), at(m.weight), at(m.loss), m.pixels, m.bands, 1};
  };
  const auto b = [&](Side at) {
    return CarlBackward{at(m.g),  at(m.a), at(m.b), at(m.input), at(m.weight), at(m.da), nullptr, nullptr,
                        m.pixels, m.bands, 1};
  };
  const DeviceArray<float> room(carl_workspace(m.pixels, m.bands));
  const std::string shape = times({m.pixels, m.bands});
  h.measure(
      {"carl_forward", shape, 4 * double(3 * m.count + m.pixels), 8 * double(m.count), bound()}, {m.loss},
      [&](Stream t) { carl_forward(f(kDevice), room.data(), t); }, [&] { cpu::carl_forward(f(kHost)); });
  h.measure(
      {"carl_backward", shape, 4 * double(4 * m.count + m.pixels), 8 * double(m.count), bound()}, {m.da},
      [&](Stream t) { carl_backward(b(kDevice), t); }, [&] { cpu::carl_backward(b(kHost)); });
}

void measure_ssim(Harness& h, Images& m, int64_t side) {
  Numbers by_mean(m.count), by_squares(m.count), by_product(m.count);
  const auto f = [&](Side at) {
    return SsimForward{at(m.a),        at(m.b), at(m.loss), at(by_mean), nullptr, at(by_squares),
                       at(by_product), 1,       side,       side,        m.bands};
  };
  const auto b = [&](Side at) {
    return SsimBackward{at(m.g),  at(m.a), at(m.b), at(by_mean), at(by_squares), at(by_product),
                        at(m.da), 1,       side,    side,        m.bands};
  };
  const DeviceArray<float> room(ssim_forward_workspace(f(kDevice)));
  const std::string shape = times({side, side, m.bands});
  // Variances are differences of the filtered squares: they lose digits, more where c2 is what they are compared to.
  const double allowed = 16 * bound(121);
  h.measure(
      {"ssim_forward", shape, 20 * double(m.count), 240 * double(m.count), allowed},
      {m.loss, by_mean, by_squares, by_product}, [&](Stream t) { ssim_forward(f(kDevice), room.data(), t); },
      [&] { cpu::ssim_forward(f(kHost)); });
  h.measure(
      {"ssim_backward", shape, 24 * double(m.count), 140 * double(m.count), allowed}, {m.da},
      [&](Stream t) { ssim_backward(b(kDevice), t); }, [&] { cpu::ssim_backward(b(kHost)); });
}

}  // namespace

void measure_losses(Harness& h) {
  const Level l = h.first_level();
  const int64_t side = h.check() ? 13 : l.side;
  measure_class_losses<uint8_t>(h, l.pixels(), 10, "uint8");
  measure_class_losses<int64_t>(h, l.pixels(), 10, "int64");
  Images m(side * side, 13);
  measure_error(h, m, cpu::AbsoluteError{}, "l1_forward", "l1_backward", false);
  measure_error(h, m, cpu::AbsoluteError{}, "l1_forward", "l1_backward", true);
  measure_error(h, m, cpu::SquaredError{}, "mse_forward", "mse_backward", false);
  measure_error(h, m, HuberError{0.1f}, "huber_forward", "huber_backward", false);
  measure_error(h, m, CharbonnierError{1e-3f}, "charbonnier_forward", "charbonnier_backward", false);
  measure_carl(h, m);
  measure_ssim(h, m, side);
}

}  // namespace clearsky::cuda::bench
