// The prompt-guided fusion of optical and SAR features, and the mix of the two that it ends with.

#include "clearsky/cpu/fusion.hpp"
#include "clearsky/cpu/prompt_fusion.hpp"
#include "clearsky/cuda/kernels/fusion.cuh"
#include "clearsky/cuda/kernels/prompt_fusion.cuh"
#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

void measure_prompt_fusion(Harness& h, const Level& l, int64_t prompt_side) {
  const PromptFusionSizes s{1, l.side, l.side, l.width, prompt_side, prompt_side};
  const int64_t count = l.pixels() * l.width, prompts = prompt_side * prompt_side * l.width;
  Numbers optical = draw(count, 1), sar = draw(count, 2), projected = draw(count, 3), prompt = draw(prompts, 4),
          context = draw(l.width, 5), weight = draw(9 * l.width, 6), bias = draw(l.width, 7), dy = draw(count, 8);
  Numbers y(count), reliance(l.pixels()), doptical(count), dsar(count), dprojected(count), dprompt(prompts),
      dcontext(l.width), dweight(9 * l.width), dbias(l.width);
  const auto f = [&](Side at) {
    return PromptFusionForward{at(optical), at(sar), at(projected), at(prompt), at(context), at(weight),
                               at(bias),    at(y),   at(reliance),  s,          true};
  };
  const auto b = [&](Side at) {
    return PromptFusionBackward{
        at(optical),  at(sar),  at(projected),  at(prompt),  at(context),  at(weight),  at(bias),  at(dy),
        at(doptical), at(dsar), at(dprojected), at(dprompt), at(dcontext), at(dweight), at(dbias), s,
        true};
  };
  const DeviceArray<float> room(prompt_fusion_backward_workspace(b(kDevice)));
  const std::string shape = times({l.side, l.side, l.width}) + ", prompt " + times({prompt_side, prompt_side});
  const double small = double(prompts + 11 * l.width);
  h.measure(
      {"prompt_fusion_forward", shape, 4 * (4 * double(count) + small + double(l.pixels())), 34 * double(count),
       bound(64)},
      {y, reliance}, [&](Stream t) { prompt_fusion_forward(f(kDevice), t); },
      [&] { cpu::prompt_fusion_forward(f(kHost)); });
  h.measure(
      {"prompt_fusion_backward", shape, 4 * (7 * double(count) + 2 * small), 80 * double(count),
       bound(double(l.pixels()))},
      {doptical, dsar, dprojected, dprompt, dcontext, dweight, dbias},
      [&](Stream t) { prompt_fusion_backward(b(kDevice), room.data(), t); },
      [&] { cpu::prompt_fusion_backward(b(kHost)); });
}

void measure_mix(Harness& h, const Level& l) {
  const int64_t pixels = l.pixels(), count = pixels * l.width;
  Numbers optical = draw(count, 1), sar = draw(count, 2), context = draw(l.width, 3), bias = draw(count, 4),
          dy = draw(count, 5);
  Numbers y(count), reliance(pixels), doptical(count), dsar(count), dcontext(l.width), dbias(count);
  const auto f = [&](Side at) {
    return MixForward{at(optical), at(sar), at(context), at(bias), at(y), at(reliance), 1, pixels, l.width, true};
  };
  const auto b = [&](Side at) {
    return MixBackward{at(optical),  at(sar),   at(context), at(bias), at(dy),  at(doptical), at(dsar),
                       at(dcontext), at(dbias), 1,           pixels,   l.width, true};
  };
  const DeviceArray<float> room(mix_backward_workspace(1, pixels, l.width));
  const std::string shape = times({l.side, l.side, l.width});
  h.measure(
      {"mix_forward", shape, 4 * double(4 * count + pixels + l.width), 8 * double(count), bound(16)}, {y, reliance},
      [&](Stream t) { mix_forward(f(kDevice), t); }, [&] { cpu::mix_forward(f(kHost)); });
  h.measure(
      {"mix_backward", shape, 4 * double(7 * count + 2 * l.width), 14 * double(count), bound(double(pixels))},
      {doptical, dsar, dcontext, dbias}, [&](Stream t) { mix_backward(b(kDevice), room.data(), t); },
      [&] { cpu::mix_backward(b(kHost)); });
}

}  // namespace

void measure_fusion(Harness& h) {
  for (const Level& l : h.levels()) {
    measure_prompt_fusion(h, l, h.check() ? l.side / 2 : 64);  // the prompt has a quarter of the image's side
    measure_mix(h, l);
  }
}

}  // namespace clearsky::cuda::bench
